// Command durable measures Durable Streams over HTTP: a gateway on a Redis of its own, and this process as its
// clients, each row beside the raw thing in the same run. CPU is that of the gateway and of Redis, from /proc.
//
//	make bench-durable
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
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

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/bench/internal/proc"
	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

var (
	rounds = flag.Int("rounds", 3, "rounds of each row, of which the median counts")
	length = flag.Duration("length", 3*time.Second, "length of a round")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "durable:", err)
		os.Exit(1)
	}
}

// A bed is what is measured.
type bed struct {
	gateway, server *exec.Cmd
	url, socket     string
	http            *http.Client
	raw             *redis.Client
}

func run() error {
	dir, err := os.MkdirTemp("", "bench-durable")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bed{socket: filepath.Join(dir, "redis"), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}}
	redisServer, err := redisbin.Find("")
	if err != nil {
		return err
	}
	b.server = exec.Command(redisServer, "--port", "0", "--unixsocket", b.socket, "--save", "", "--dir", dir)
	if err := b.server.Start(); err != nil {
		return err
	}
	defer end(b.server)
	program := filepath.Join(dir, "streamhub")
	build := exec.Command("go", "build", "-o", program, "./cmd/streamhub")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	b.gateway = exec.Command(program, "serve", "--redis", "unix://"+b.socket, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn")
	out, err := b.gateway.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.gateway.Start(); err != nil {
		return err
	}
	defer end(b.gateway)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return err
	}
	b.url = strings.Fields(line)[1] + "/v1/stream/"
	b.raw = redis.NewClient(&redis.Options{Network: "unix", Addr: b.socket})
	defer b.raw.Close()

	fmt.Printf("%-44s %12s %12s %10s %10s\n", "row", "figure", "raw", "CPU µs/op", "errors")
	for _, row := range []func(*bed, int) error{
		func(b *bed, n int) error { return b.writers(n, 32, 1) },
		func(b *bed, n int) error { return b.writers(n, 32, 32) },
		func(b *bed, n int) error { return b.events(n, 200, 20) },
		func(b *bed, n int) error { return b.events(n, 1000, 50) },
		(*bed).catchUp,
	} {
		for n := range *rounds {
			if err := row(b, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}

// cpu is what the gateway and Redis have used so far.
func (b *bed) cpu() time.Duration {
	return proc.CPU(b.gateway.Process.Pid) + proc.CPU(b.server.Process.Pid)
}

func (b *bed) do(method, path, body string) error {
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "text/plain")
	response, err := b.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode >= 300 {
		return errors.New(response.Status)
	}
	return nil
}

func report(name string, figure, raw string, cpu time.Duration, ops int64, failed int64) {
	perOp := "-"
	if ops > 0 {
		perOp = fmt.Sprintf("%.1f", float64(cpu.Microseconds())/float64(ops))
	}
	fmt.Printf("%-44s %12s %12s %10s %10d\n", name, figure, raw, perOp, failed)
}

// writers append from so many connections to so many streams; raw is XADD through the driver, from as
// many goroutines.
func (b *bed) writers(round, connections, streams int) error {
	payload := strings.Repeat("x", 256)
	for n := range streams {
		if err := b.do(http.MethodPut, fmt.Sprintf("w/%d-%d-%d", streams, round, n), ""); err != nil {
			return err
		}
	}
	spread := func(do func(n int) error) (ops, failed int64) {
		var done, bad atomic.Int64
		var wg sync.WaitGroup
		until := time.Now().Add(*length)
		for n := range connections {
			wg.Go(func() {
				for time.Now().Before(until) {
					if do(n) != nil {
						bad.Add(1)
					} else {
						done.Add(1)
					}
				}
			})
		}
		wg.Wait()
		return done.Load(), bad.Load()
	}
	raw, _ := spread(func(n int) error {
		return b.raw.XAdd(context.Background(), &redis.XAddArgs{Stream: fmt.Sprint("raw", n%streams), Values: []any{"d", payload}}).Err()
	})
	before := b.cpu()
	ops, failed := spread(func(n int) error {
		return b.do(http.MethodPost, fmt.Sprintf("w/%d-%d-%d", streams, round, n%streams), payload)
	})
	perSecond := func(n int64) string { return fmt.Sprintf("%.0f/s", float64(n)/length.Seconds()) }
	report(fmt.Sprintf("%d writers, %d streams, 256 B", connections, streams), perSecond(ops), perSecond(raw), b.cpu()-before, ops, failed)
	return b.raw.Del(context.Background(), "raw0").Err()
}

// events has readers follow one stream with server-sent events while it grows at a rate.
func (b *bed) events(round, readers, rate int) error {
	path := fmt.Sprintf("e/%d-%d", readers, round)
	if err := b.do(http.MethodPut, path, ""); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var delivered, failed atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	var wg, ready sync.WaitGroup
	ready.Add(readers)
	for range readers {
		wg.Go(func() {
			var begun sync.Once
			defer begun.Do(ready.Done)
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path+"?live=sse&offset=-1", nil)
			if err != nil {
				failed.Add(1)
				return
			}
			response, err := b.http.Do(r)
			if err != nil {
				failed.Add(1)
				return
			}
			defer response.Body.Close()
			var mine []time.Duration
			for lines := bufio.NewScanner(response.Body); lines.Scan(); {
				begun.Do(ready.Done) // the first event says where the stream ends
				if at, err := strconv.ParseInt(strings.TrimPrefix(lines.Text(), "data:"), 10, 64); err == nil {
					mine = append(mine, time.Since(time.Unix(0, at)))
					delivered.Add(1)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	ready.Wait()
	before := b.cpu()
	sent := 0
	tick := time.NewTicker(time.Second / time.Duration(rate))
	for begin := time.Now(); time.Since(begin) < *length; sent++ {
		<-tick.C
		if err := b.do(http.MethodPost, path, fmt.Sprintln(time.Now().UnixNano())); err != nil {
			return err
		}
	}
	tick.Stop()
	want := int64(sent * readers)
	for late := time.Now().Add(10 * time.Second); delivered.Load() < want && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	used := b.cpu() - before
	cancel()
	wg.Wait()
	slices.Sort(all)
	if len(all) == 0 {
		return errors.New("nothing was delivered")
	}
	report(fmt.Sprintf("%d event streams × %d/s: p50, p99", readers, rate), all[len(all)/2].Round(10*time.Microsecond).String(),
		all[len(all)*99/100].Round(10*time.Microsecond).String(), used, delivered.Load(), failed.Load()+want-delivered.Load())
	return nil
}

// catchUp has eight readers read a stream of 16,000 messages from its beginning; raw is a file of the
// same bytes from the HTTP server of Go.
func (b *bed) catchUp(round int) error {
	const messages, readers, repeats = 16_000, 8, 10
	path := fmt.Sprintf("c/%d", round)
	if err := b.do(http.MethodPut, path, ""); err != nil {
		return err
	}
	payload := strings.Repeat("x", 256)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range messages / 32 {
				_ = b.do(http.MethodPost, path, payload)
			}
		})
	}
	wg.Wait()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	content := bytes.Repeat([]byte(payload), messages)
	static := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}), ReadHeaderTimeout: time.Second}
	go func() { _ = static.Serve(listener) }()
	defer static.Close()
	read := func(get func() (int64, error)) (string, int64, error) {
		var sum atomic.Int64
		var failed atomic.Value
		begin := time.Now()
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				for range repeats {
					n, err := get()
					if err == nil && n != int64(len(content)) {
						err = fmt.Errorf("%d bytes of %d", n, len(content))
					}
					if err != nil {
						failed.Store(err)
						return
					}
					sum.Add(n)
				}
			})
		}
		wg.Wait()
		err, _ := failed.Load().(error)
		return fmt.Sprintf("%.0f MB/s", float64(sum.Load())/1e6/time.Since(begin).Seconds()), sum.Load(), err
	}
	raw, _, err := read(func() (int64, error) {
		n, _, err := b.get("http://" + listener.Addr().String())
		return n, err
	})
	if err != nil {
		return err
	}
	before := b.cpu()
	ours, bytes, err := read(func() (sum int64, err error) {
		for at, more := "-1", true; more; {
			n, header, err := b.get(b.url + path + "?offset=" + at)
			if err != nil {
				return 0, err
			}
			sum += n
			at, more = header.Get("Stream-Next-Offset"), header.Get("Stream-Up-To-Date") == ""
		}
		return sum, nil
	})
	report("catch-up, 16,000 × 256 B, 8 readers (raw: file)", ours, raw, b.cpu()-before, bytes/1e6, 0)
	return err
}

func (b *bed) get(url string) (int64, http.Header, error) {
	response, err := b.http.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return n, response.Header, err
}
