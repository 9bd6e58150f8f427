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
	"path/filepath"
	"slices"
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
	dir     string
	url     string     // of the server, or of the Cluster, for a hub
	servers []*process // one, or the masters of a Cluster
	addr    string     // of the first server
	client  *redis.Client

	under  []string // the program that the server runs under
	dumps  string   // files of callgrind are named so, with a number
	dumped int
}

func newBed(ctx context.Context, r *row) (*bed, error) {
	b, err := emptyBed()
	if err != nil {
		return nil, err
	}
	var args []string
	if r.counted {
		if err := b.count(r.name); err != nil {
			return nil, errors.Join(err, b.close())
		}
		// The server's own housekeeping goes by the clock and would count.
		args = []string{"--hz", "1", "--dynamic-hz", "no", "--activerehashing", "no"}
	}
	if err := b.start(ctx, args...); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.url = "redis://" + b.addr
	if r.counted {
		b.url += "?read_timeout=1m" // it is a hundred times as slow
	}
	return b, nil
}

func emptyBed() (*bed, error) {
	dir, err := os.MkdirTemp("", "bench-suite")
	return &bed{dir: dir}, err
}

// start starts one more server, and returns when it answers.
func (b *bed) start(ctx context.Context, args ...string) error {
	program, err := redisbin.Find(*served)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, port)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	command := slices.Concat(b.under, []string{program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir}, args)
	p := &process{cmd: exec.CommandContext(ctx, command[0], command[1:]...), line: net.JoinHostPort("127.0.0.1", port)}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	b.servers = append(b.servers, p)
	if b.client == nil {
		b.addr, b.client = p.line, redis.NewClient(&redis.Options{Addr: p.line})
	}
	return eventually(time.Minute, func() error {
		conn, err := net.Dial("tcp", p.line)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// eventually repeats something until it succeeds, for so long.
func eventually(limit time.Duration, do func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if err := do(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (b *bed) close() error {
	var errs []error
	if b.client != nil {
		errs = append(errs, b.client.Close())
	}
	for _, p := range b.servers {
		errs = append(errs, p.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// cpu is the time that Redis has used so far.
func (b *bed) cpu() (sum time.Duration) {
	for _, p := range b.servers {
		sum += p.cpu()
	}
	return sum
}

// version names the server, which may be a Valkey that gives itself out as a Redis.
func (b *bed) version(ctx context.Context) (string, error) {
	info, err := b.client.InfoMap(ctx, "server").Result()
	if v := info["Server"]["valkey_version"]; v != "" {
		return "Valkey " + v, err
	}
	return "Redis " + info["Server"]["redis_version"], err
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
	return b.store(ctx, uuid.New(), nil)
}

// store opens a hub of its own for a store, which others may have open.
func (b *bed) store(ctx context.Context, id uuid.UUID, opts *hub.Options) (*hub.Store, func() error, error) {
	h, done, err := openHub(ctx, b.url, opts)
	if err != nil {
		return nil, nil, err
	}
	return h.Store(id), done, nil
}

func openHub(ctx context.Context, url string, opts *hub.Options) (*hub.Hub, func() error, error) {
	client, err := hub.NewClient(url)
	if err != nil {
		return nil, nil, err
	}
	h, err := hub.Open(ctx, client, opts)
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

// rate has so many callers do something for the length of a turn; each call does ops operations. The process whose time
// counts is this one.
func (b *bed) rate(ctx context.Context, callers, ops int, do func(ctx context.Context, caller int) error) (sample, error) {
	return b.rateOf(ctx, ownCPU, callers, ops, do)
}

// rateOf is rate with the time of another process.
func (b *bed) rateOf(
	ctx context.Context, cpu func() time.Duration, callers, ops int, do func(ctx context.Context, caller int) error,
) (sample, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	spent, end := b.meter(cpu), time.Now().Add(*length)
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
func (b *bed) meter(cpu func() time.Duration) func(n float64) sample {
	redisBefore, before, begin := b.cpu(), cpu(), time.Now()
	return func(n float64) sample {
		return sample{
			ops:     n,
			Figure:  n / time.Since(begin).Seconds(),
			Redis:   micros(b.cpu()-redisBefore) / n,
			Process: micros(cpu()-before) / n,
		}
	}
}

// timed has one caller do one thing after the other; the figure is the median of the times.
func (b *bed) timed(ctx context.Context, do func(context.Context) error) (sample, error) {
	var times []time.Duration
	s, err := b.rate(ctx, 1, 1, func(ctx context.Context, _ int) error {
		begin := time.Now()
		err := do(ctx)
		times = append(times, time.Since(begin))
		return err
	})
	s.Figure = micros(percentile(times, 0.5))
	return s, err
}

// pass has something that does ops operations done once.
func (b *bed) pass(ctx context.Context, ops int, do func(context.Context) error) (sample, error) {
	spent := b.meter(ownCPU)
	if err := do(ctx); err != nil {
		return sample{}, err
	}
	return spent(float64(ops)), nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
