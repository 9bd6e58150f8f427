// Command streamhub serves a stream hub and works with one from the command line; see
// streamhub --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	logging.Disable() // of the driver: its failures are errors of calls, which are reported once
	ctx := interruptible(context.Background())
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// An interrupt is the cause of a context that a signal ended.
type interrupt struct{ signal os.Signal }

func (i interrupt) Error() string { return "stopped by a signal: " + i.signal.String() }

// interruptible returns a context that the first SIGINT or SIGTERM ends. The next one ends the
// process, as if nothing listened.
func interruptible(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		cancel(interrupt{<-signals})
		signal.Stop(signals)
	}()
	// A closed standard output must be an error of the write, not the end of the process. The signal is not ignored,
	// because a command under a lease would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ctx
}
