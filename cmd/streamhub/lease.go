package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/child"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/lease"
)

const (
	// tokenVariable is the environment variable that holds the fencing token for the command.
	tokenVariable = "STREAMHUB_LEASE_TOKEN"
	// leaseGrace is how long a command may take to end after the lease is lost.
	leaseGrace = 5 * time.Second
	// goodbyeTime bounds the calls that are made after a signal.
	goodbyeTime = 2 * time.Second
)

// leaseCmd groups the commands for leases.
type leaseCmd struct {
	Run leaseRunCmd `cmd:"" default:"withargs" help:"Run a command while holding a lease. The word run can be left out, unless the key is run or ls."`
	Ls  leaseLsCmd  `cmd:"" help:"List the leases of a store that are held: by whom, since when and for how long."`
}

type leaseRunCmd struct {
	target
	Key     string        `arg:"" help:"Key of the lease."`
	TTL     time.Duration `name:"ttl" default:"15s" placeholder:"D" help:"How long the lease outlives this process; it is renewed all the time."`
	Wait    time.Duration `placeholder:"D" help:"How long to wait for a lease that another holds."`
	Command []string      `arg:"" help:"Command to run, after --; it finds the token in $STREAMHUB_LEASE_TOKEN."`
}

// Run runs the command while the lease is held and ends with its code. Signals go to the command.
// If the lease is lost, the command gets SIGTERM, after 5 s SIGKILL, and the code is 3. On Windows,
// which has no signals, the command is ended at once instead.
func (c *leaseRunCmd) Run(s *session) error {
	if err := streamhub.CheckName("lease key", c.Key); err != nil {
		return err
	}
	if c.TTL < lease.MinTTL || c.TTL > lease.MaxTTL || c.Wait < 0 {
		return usagef("--ttl is between %v and %v, --wait not negative", lease.MinTTL, lease.MaxTTL)
	}
	program, err := exec.LookPath(c.Command[0])
	if err != nil {
		return failedf("the command cannot be run: %w", err)
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()

	// A signal ends the wait for the lease, not the lease.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(s.ctx))
	defer cancel(nil)
	unbind := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	code := 0
	err = store.WithLease(ctx, c.Key, c.TTL, c.Wait, func(ctx context.Context, token uint64) (err error) {
		unbind()
		code, err = c.command(s, ctx, program, token)
		return err
	})
	unbind()
	switch {
	case err == nil && code != 0:
		return &statusError{code: code}
	case err == nil, errors.Is(err, streamhub.ErrLeaseLost):
		return err
	}
	return interrupted(ctx, err)
}

// command runs the command and returns its code. The end of held stops it; that of the session is
// a signal and goes to the command like any other.
func (c *leaseRunCmd) command(s *session, held context.Context, program string, token uint64) (int, error) {
	cmd := exec.Command(program, c.Command[1:]...)
	cmd.Args[0] = c.Command[0]
	cmd.Env = append(s.env[:len(s.env):len(s.env)], tokenVariable+"="+strconv.FormatUint(token, 10))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stdout.w, s.stderr
	cmd.WaitDelay = goodbyeTime // bounds the wait for output that a leftover process holds open

	// On a terminal the command shares our process group, which is the one in the foreground, and
	// gets the signals of the keyboard from the terminal.
	group := !isTerminal(s.stdin)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, child.Forwarded...)
	defer signal.Stop(signals)
	if err := context.Cause(held); err != nil {
		return 0, err
	}
	if err := context.Cause(s.ctx); err != nil {
		return 0, err // the error came before the line above
	}

	process, err := child.Start(cmd, group)
	if err != nil {
		return 0, failedf("the command cannot be run: %w", err)
	}
	stopped := s.ctx.Done()
	for {
		select {
		case <-process.Done():
			return process.ExitCode(), nil
		case got := <-signals:
			if group || got != syscall.SIGINT && got != syscall.SIGQUIT {
				process.Signal(got)
			}
		case <-stopped:
			stopped = nil
			if !errors.As(context.Cause(s.ctx), new(interrupt)) {
				process.Signal(syscall.SIGTERM) // a signal comes by itself
			}
		case <-held.Done():
			process.Stop(leaseGrace)
			return 0, context.Cause(held)
		}
	}
}
