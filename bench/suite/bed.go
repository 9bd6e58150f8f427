package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/bench/internal/proc"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

// A bed is what one row is measured on: a Redis of its own.
type bed struct {
	dir    string
	server *process
	addr   string
	client *redis.Client // for questions, not for what is measured
}

func newBed(ctx context.Context) (*bed, error) {
	dir, err := os.MkdirTemp("", "bench-suite")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(b.addr)
	if err := l.Close(); err != nil {
		return nil, err
	}
	program, err := redisbin.Find("")
	if err != nil {
		return nil, err
	}
	b.server = &process{cmd: exec.CommandContext(ctx, program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)}
	if err := b.server.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	b.client = redis.NewClient(&redis.Options{Addr: b.addr})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = b.client.Ping(ctx).Err(); err == nil {
			return b, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(err, b.close())
		}
	}
}

func (b *bed) close() error {
	return errors.Join(b.client.Close(), b.server.stop(), os.RemoveAll(b.dir))
}

func (b *bed) version(ctx context.Context) (string, error) {
	info, err := b.client.InfoMap(ctx, "server").Result()
	return info["Server"]["redis_version"], err
}

// memory is what the data takes in Redis, in bytes.
func (b *bed) memory(ctx context.Context) (float64, error) {
	info, err := b.client.InfoMap(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(info["Memory"]["used_memory"], 64)
}

// raw is a client of the driver as it comes.
func (b *bed) raw() *redis.Client { return redis.NewClient(&redis.Options{Addr: b.addr}) }

// hub opens a hub on the same Redis, with a store of its own.
func (b *bed) hub(ctx context.Context) (*hub.Store, func() error, error) {
	h, done, err := openHub(ctx, b.addr)
	if err != nil {
		return nil, nil, err
	}
	return h.Store(uuid.New()), done, nil
}

func openHub(ctx context.Context, addr string) (*hub.Hub, func() error, error) {
	client, err := hub.NewClient("redis://" + addr)
	if err != nil {
		return nil, nil, err
	}
	h, err := hub.Open(ctx, client, nil)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return h, func() error { return errors.Join(h.Close(), client.Close()) }, nil
}

// A process is one whose time is measured.
type process struct {
	cmd  *exec.Cmd
	line string // the first that it printed
	in   io.WriteCloser
	out  *bufio.Reader
}

// spawn starts this program as a child and waits for its first line.
func spawn(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, append([]string{"-child"}, args...)...)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	line, err := p.out.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%v: %w", args, err), p.stop())
	}
	p.line = strings.TrimSpace(line)
	return p, nil
}

func (p *process) stop() error {
	_ = p.cmd.Process.Kill()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); !errors.As(err, &exit) {
		return err
	}
	return nil
}

// cpu is the time that the process has used so far.
func (p *process) cpu() time.Duration { return proc.CPU(p.cmd.Process.Pid) }

// resident is the resident memory of the process in bytes.
func (p *process) resident() float64 { return float64(proc.Resident(p.cmd.Process.Pid)) }

// ownCPU is the time that this process has used so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// raiseLimit allows as many files as this process may have.
func raiseLimit() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

// rate has so many callers do something for the length of a turn; each call does ops operations.
func (b *bed) rate(ctx context.Context, callers, ops int, do func(ctx context.Context, caller int) error) (sample, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	spent, end := b.meter(), time.Now().Add(*length)
	for caller := range callers {
		all.Go(func() {
			for time.Now().Before(end) && failed.Load() == nil {
				if err := do(ctx, caller); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				done.Add(int64(ops))
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return sample{}, *err
	}
	return spent(float64(done.Load())), nil
}

// meter begins to count; what it returns says what each of n operations took since then.
func (b *bed) meter() func(n float64) sample {
	redisBefore, ownBefore, begin := b.server.cpu(), ownCPU(), time.Now()
	return func(n float64) sample {
		return sample{
			Figure:  n / time.Since(begin).Seconds(),
			Redis:   micros(b.server.cpu()-redisBefore) / n,
			Process: micros(ownCPU()-ownBefore) / n,
		}
	}
}

// pass has something that does ops operations done once.
func (b *bed) pass(ctx context.Context, ops int, do func(context.Context) error) (sample, error) {
	spent := b.meter()
	if err := do(ctx); err != nil {
		return sample{}, err
	}
	return spent(float64(ops)), nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
