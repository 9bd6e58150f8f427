package testredis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// errPortTaken is a start that lost its port to another process.
var errPortTaken = errors.New("port taken")

// node is a server with a directory and a port of its own, through any number of processes. Its methods return
// errors; what they mean for a test is decided by Server.
type node struct {
	path     string // of redis-server
	dir      string
	sentinel bool
	port     int
	bus      int // of a Cluster node
	password string
	config   string // as first written; Sentinel makes the server rewrite the file

	mu     sync.Mutex
	proc   *process // nil before the first start
	paused bool
}

func (n *node) addr() string       { return address(n.port) }
func (n *node) configFile() string { return filepath.Join(n.dir, "redis.conf") }
func (n *node) logFile() string    { return filepath.Join(n.dir, "redis.log") }
func (n *node) dataDir() string    { return filepath.Join(n.dir, "data") }

// create makes the directory with its configuration and starts the first process.
func (n *node) create() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.reset(); err != nil {
		return err
	}
	return n.start()
}

// reset empties the data directory and restores the configuration.
func (n *node) reset() error {
	if err := os.RemoveAll(n.dataDir()); err != nil {
		return err
	}
	if err := os.MkdirAll(n.dataDir(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(n.configFile(), []byte(n.config), 0o600)
}

// start runs a process and waits until it answers. The caller holds mu.
func (n *node) start() error {
	output, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close() // the child has a descriptor of its own
	from, err := output.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	args := []string{n.configFile()}
	if n.sentinel {
		args = append(args, "--sentinel")
	}
	p, err := launch(n.path, args, n.dataDir(), output)
	if err != nil {
		return err
	}
	n.proc, n.paused = p, false
	if err := n.waitReady(p); err != nil {
		log := n.log(from)
		_ = p.cmd.Process.Kill()
		<-p.exited
		if strings.Contains(log, "Address already in use") {
			return errPortTaken
		}
		return fmt.Errorf("redis-server on %s: %w\n%s", n.addr(), err, log)
	}
	return nil
}

// waitReady waits until the process behind the port is ours and has loaded its data. An answer alone would not do:
// a stranger may have won the port.
func (n *node) waitReady(p *process) error {
	return poll(startLimit, func(ctx context.Context) error {
		if !p.alive() {
			return fmt.Errorf("%w: the process ended", errPermanent)
		}
		info, err := n.info(ctx)
		switch {
		case err != nil:
			return err
		case info["process_id"] != strconv.Itoa(p.pid()):
			return errors.New("another server answers")
		case info["loading"] == "1":
			return errors.New("still loading")
		}
		return nil
	})
}

// info returns the fields of INFO.
func (n *node) info(ctx context.Context) (map[string]string, error) {
	// A pool that fails to dial logs it and rests for a second.
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.addr())
	if err != nil {
		return nil, err
	}
	_ = conn.Close()
	client := n.dial()
	defer client.Close()
	return askInfo(ctx, client)
}

// dial returns a client for this package's own questions.
func (n *node) dial() *redis.Client { return redis.NewClient(n.options()) }

// options never retry and give up early.
func (n *node) options() *redis.Options {
	return &redis.Options{
		Addr:                  n.addr(),
		Password:              n.password,
		Protocol:              2,
		DisableIdentity:       true,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           askLimit,
		ReadTimeout:           askLimit,
		ContextTimeoutEnabled: true,
		PoolSize:              1,
	}
}

// askInfo returns the fields of INFO.
func askInfo(ctx context.Context, client *redis.Client) (map[string]string, error) {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// serving says whether the process runs and is not paused.
func (n *node) serving() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running() && !n.paused
}

// running says whether there is a live process. The caller holds mu.
func (n *node) running() bool { return n.proc != nil && n.proc.alive() }

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return 0
	}
	return n.proc.pid()
}

func (n *node) pause() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.signal(pauseSignal); err != nil {
		return err
	}
	n.paused = true
	return nil
}

func (n *node) resume() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.signal(resumeSignal); err != nil {
		return err
	}
	n.paused = false
	return nil
}

func (n *node) signal(sig syscall.Signal) error {
	if !n.running() {
		return fmt.Errorf("redis-server on %s does not run", n.addr())
	}
	return n.proc.cmd.Process.Signal(sig)
}

func (n *node) kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.end(syscall.SIGKILL)
}

func (n *node) stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.end(stopSignal)
}

// end sends sig and waits for the process to be gone; one that is gone already is fine. The caller holds mu.
func (n *node) end(sig syscall.Signal) error {
	if !n.running() {
		return nil
	}
	if n.paused {
		if err := n.proc.cmd.Process.Signal(resumeSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		n.paused = false
	}
	if err := n.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timeout := time.NewTimer(stopLimit)
	defer timeout.Stop()
	select {
	case <-n.proc.exited:
		return nil
	case <-timeout.C:
		_ = n.proc.cmd.Process.Kill()
		<-n.proc.exited
		return fmt.Errorf("redis-server on %s ignored %v for %v", n.addr(), sig, stopLimit)
	}
}

// restart ends the process, if there is one, and starts the next on the same port, with the data or without.
func (n *node) restart(empty bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sig := stopSignal
	if empty {
		sig = syscall.SIGKILL
	}
	if err := n.end(sig); err != nil {
		return err
	}
	if empty {
		if err := n.reset(); err != nil {
			return err
		}
	}
	// The old process may leave its port in use for a moment.
	return poll(startLimit, func(context.Context) error {
		err := n.start()
		if err != nil && !errors.Is(err, errPortTaken) {
			return fmt.Errorf("%w: %w", errPermanent, err)
		}
		return err
	})
}

// log returns what the server wrote since the given offset, at most the last 16 KiB.
func (n *node) log(from int64) string {
	const most = 16 << 10
	f, err := os.Open(n.logFile())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(from, size-most), size))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
