// Command instructions counts what redis-server executes for an append: callgrind counts instructions, which do not
// depend on what else the machine does and repeat to a few per mille. Entries carry 100 bytes.
//
//	make bench-instructions
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

var (
	count  = flag.Int("n", 4096, "appends of each row that are counted")
	choose = flag.String("rows", "", "text that the names of the rows to count contain")
	keep   = flag.String("keep", "", "folder to keep the dumps of callgrind in: the even ones are the rows")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "instructions:", err)
		os.Exit(1)
	}
}

// A row does something n times in all, after whatever is to be there before was made.
type row struct {
	name string
	open func(ctx context.Context, addr string) (do func(ctx context.Context, n int) error, done func() error, err error)
}

func rows() []row {
	return []row{
		{"XADD, pipelines of 100", xadd},
		{"a script by hand, one caller", byHand},
		{"streamhub, one caller", lone},
		{"streamhub, 32 frames a call", together(32)},
		{"streamhub, 64 spaces of one segment a call", spaces(64)},
		{"streamhub, first append of a process to a segment", first},
	}
}

func run(ctx context.Context) (err error) {
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-instructions"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	s, err := start(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	fmt.Printf("%-52s %s\n", "row", "instructions of redis-server for an append")
	for _, r := range rows() {
		if !strings.Contains(r.name, *choose) {
			continue
		}
		n, err := s.count(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Printf("%-52s %d\n", r.name, n)
	}
	return nil
}

// A server is a redis-server under callgrind.
type server struct {
	dir, addr string
	cmd       *exec.Cmd
	dumps     int
}

func start(ctx context.Context, dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, addr: l.Addr().String()}
	_, port, _ := net.SplitHostPort(s.addr)
	if err := l.Close(); err != nil {
		return nil, err
	}
	program, err := redisbin.Find("")
	if err != nil {
		return nil, err
	}
	// hz 1: the server's own housekeeping goes by the clock and would count.
	s.cmd = exec.CommandContext(ctx, "valgrind", "--tool=callgrind", "--callgrind-out-file="+filepath.Join(dir, "out"), "-q",
		program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--hz", "1", "--dynamic-hz", "no", "--activerehashing", "no")
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: install valgrind", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			return s, conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(err, s.stop())
		}
	}
}

func (s *server) stop() error {
	_ = s.cmd.Process.Kill()
	var exit *exec.ExitError
	if err := s.cmd.Wait(); !errors.As(err, &exit) {
		return err
	}
	return nil
}

// dump returns how many instructions the server has executed since the last dump.
func (s *server) dump(ctx context.Context) (int, error) {
	text, err := exec.CommandContext(ctx, "callgrind_control", "-d", strconv.Itoa(s.cmd.Process.Pid)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("callgrind_control: %w: %s", err, text)
	}
	s.dumps++
	out, err := os.ReadFile(filepath.Join(s.dir, "out."+strconv.Itoa(s.dumps)))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if sum, ok := strings.CutPrefix(line, "totals:"); ok {
			return strconv.Atoi(strings.TrimSpace(sum))
		}
	}
	return 0, errors.New("the dump of callgrind has no totals")
}

func (s *server) count(ctx context.Context, r row) (_ int, err error) {
	do, done, err := r.open(ctx, s.addr)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if _, err := s.dump(ctx); err != nil {
		return 0, err
	}
	if err := do(ctx, *count); err != nil {
		return 0, err
	}
	sum, err := s.dump(ctx)
	return sum / *count, err
}

// connect returns a driver that waits for a server that is a hundred times as slow.
func connect(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, ReadTimeout: time.Minute, ContextTimeoutEnabled: true})
}

func xadd(_ context.Context, addr string) (func(context.Context, int) error, func() error, error) {
	client, payload := connect(addr), make([]byte, 100)
	return func(ctx context.Context, n int) error {
		for done := 0; done < n; done += 100 {
			_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range min(100, n-done) {
					p.XAdd(ctx, &redis.XAddArgs{Stream: "raw", Values: []any{"d", payload}})
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, client.Close, nil
}

// handLua is what a user would write: the expected sequence is compared, the entry is stored under it, and followers
// are notified.
var handLua = redis.NewScript(`
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
if tonumber(ARGV[1]) ~= last + 1 then return -last end
redis.call('XADD', KEYS[2], ARGV[1] .. '-0', 'd', ARGV[2])
redis.call('HSET', KEYS[1], 'last', ARGV[1])
redis.call('PUBLISH', KEYS[3], ARGV[1])
return last + 1`)

func byHand(ctx context.Context, addr string) (func(context.Context, int) error, func() error, error) {
	client, payload, next := connect(addr), make([]byte, 100), 1
	do := func(ctx context.Context, n int) error {
		for range n {
			got, err := handLua.Run(ctx, client, []string{"{hand}m", "{hand}s", "{hand}n"}, next, payload).Int()
			if err != nil || got != next {
				return fmt.Errorf("stored %d, not %d: %w", got, next, err)
			}
			next++
		}
		return nil
	}
	return do, client.Close, do(ctx, 1)
}

// open opens a store with the given name.
func open(ctx context.Context, addr string, id uuid.UUID) (*hub.Store, func() error, error) {
	client := connect(addr)
	h, err := hub.Open(ctx, client, nil)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return h.Store(id), func() error { return errors.Join(h.Close(), client.Close()) }, nil
}

// all makes appends of one entry to so many segments at once, until there were n.
func all(s *hub.Store, width int, name func(i int) (space, segment string)) func(context.Context, int) error {
	records := []streamhub.Record{{Payload: make([]byte, 100)}}
	return func(ctx context.Context, n int) error {
		for done := 0; done < n; done += width {
			appends := make([]streamhub.Append, min(width, n-done))
			for i := range appends {
				space, segment := name(done + i)
				appends[i] = streamhub.Append{Space: space, Segment: segment, Records: records}
			}
			_, errs := s.AppendAll(ctx, appends)
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
		return nil
	}
}

func lone(ctx context.Context, addr string) (func(context.Context, int) error, func() error, error) {
	s, done, err := open(ctx, addr, uuid.New())
	if err != nil {
		return nil, nil, err
	}
	records := []streamhub.Record{{Payload: make([]byte, 100)}}
	do := func(ctx context.Context, n int) error {
		for range n {
			if _, err := s.Append(ctx, "bench", "segment", records, nil); err != nil {
				return err
			}
		}
		return nil
	}
	return do, done, do(ctx, 2)
}

func together(width int) func(context.Context, string) (func(context.Context, int) error, func() error, error) {
	return func(ctx context.Context, addr string) (func(context.Context, int) error, func() error, error) {
		s, done, err := open(ctx, addr, uuid.New())
		if err != nil {
			return nil, nil, err
		}
		do := all(s, width, func(i int) (space, segment string) { return "bench", "segment" + strconv.Itoa(i%width) })
		return do, done, do(ctx, 2*width)
	}
}

func spaces(width int) func(context.Context, string) (func(context.Context, int) error, func() error, error) {
	return func(ctx context.Context, addr string) (func(context.Context, int) error, func() error, error) {
		s, done, err := open(ctx, addr, uuid.New())
		if err != nil {
			return nil, nil, err
		}
		do := all(s, width, func(i int) (space, segment string) { return "bench" + strconv.Itoa(i%width), "segment" })
		return do, done, do(ctx, 2*width)
	}
}

// first appends once to each of many segments that another process has made.
func first(ctx context.Context, addr string) (func(context.Context, int) error, func() error, error) {
	id := uuid.New()
	name := func(i int) (space, segment string) { return "bench", "segment" + strconv.Itoa(i) }
	maker, done, err := open(ctx, addr, id)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(all(maker, 64, name)(ctx, *count), done()); err != nil {
		return nil, nil, err
	}
	s, done, err := open(ctx, addr, id)
	if err != nil {
		return nil, nil, err
	}
	return all(s, 1, name), done, nil
}
