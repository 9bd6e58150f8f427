// Idleconns measures what an idle connection costs a gateway: resident memory of a process that
// holds many connections, each following one segment on which nothing happens, beside a bare server
// of coder/websocket that holds as many connections and does nothing else, in the same run.
//
//	go run ./idleconns [-connections 5000] [-segments 5000] [-redis redis-server]
//
// It needs redis-server and two file descriptors for each connection.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

var (
	connections = flag.Int("connections", 5000, "connections of each server")
	segments    = flag.Int("segments", 5000, "segments that they follow")
	server      = flag.String("redis", "redis-server", "program to start as Redis")
	serve       = flag.String("serve", "", "internal: which server this process is")
	redisURL    = flag.String("redis-url", "", "internal: Redis of the gateway")
)

// A figure is one line of the result.
type figure struct {
	Server       string  `json:"server"`
	Connections  int     `json:"connections"`
	Segments     int     `json:"segments,omitempty"`
	KiB          float64 `json:"kib_per_connection"`
	OverBare     float64 `json:"ratio_to_bare"`
	TotalMiB     float64 `json:"total_mib"`
	SettledAfter string  `json:"settled_after"`
}

func main() {
	flag.Parse()
	raiseLimit()
	switch *serve {
	case "bare":
		listen(http.HandlerFunc(bare))
	case "gateway":
		listen(gateway())
	default:
		measure()
	}
}

// raiseLimit allows as many files as this process may have.
func raiseLimit() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

// bare reads, which answers pings, and does nothing else.
func bare(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	_, _, _ = ws.Read(r.Context())
}

func gateway() http.Handler {
	redis, err := hub.NewClient(*redisURL)
	check(err)
	h, err := hub.Open(context.Background(), redis, nil)
	check(err)
	g, err := wsgateway.New(context.Background(), h, nil)
	check(err)
	return g
}

func listen(h http.Handler) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(l.Addr())
	check(http.Serve(l, h)) //nolint:gosec // on the loopback, for the program that started it
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A process is a server under measurement.
type process struct {
	cmd     *exec.Cmd
	address string
}

func start(args ...string) *process {
	self, err := os.Executable()
	check(err)
	p := &process{cmd: exec.Command(self, args...)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	check(err)
	check(p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	check(err)
	p.address = strings.TrimSpace(line)
	return p
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// resident is the resident memory of the process in bytes.
func (p *process) resident() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	check(err)
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	check(err)
	return pages * os.Getpagesize()
}

// settle waits until the memory of the process has stopped changing.
func (p *process) settle() (int, time.Duration) {
	began := time.Now()
	last, since := p.resident(), time.Now()
	for time.Since(since) < 3*time.Second && time.Since(began) < time.Minute {
		time.Sleep(200 * time.Millisecond)
		if now := p.resident(); now > last+64<<10 || now < last-64<<10 {
			last, since = now, time.Now()
		}
	}
	return p.resident(), time.Since(began)
}

func measure() {
	bareServer := start("-serve", "bare")
	defer bareServer.stop()
	bareFigure := fill(bareServer, "bare coder/websocket", dialBare)

	url, stopRedis := startRedis()
	defer stopRedis()
	gatewayServer := start("-serve", "gateway", "-redis-url", url)
	defer gatewayServer.stop()
	id := uuid.New()
	prepare(url, id)
	ours := fill(gatewayServer, "streamhub gateway", func(address string, i int) error { return follow(address, id, i) })
	ours.Segments = *segments
	ours.OverBare = ours.KiB / bareFigure.KiB
	bareFigure.OverBare = 1
	fmt.Fprintf(os.Stderr, "%-22s %12s %12s %8s\n", "server", "connections", "KiB each", "ratio")
	for _, f := range []figure{bareFigure, ours} {
		fmt.Fprintf(os.Stderr, "%-22s %12d %12.1f %8.2f\n", f.Server, f.Connections, f.KiB, f.OverBare)
		check(json.NewEncoder(os.Stdout).Encode(f))
	}
}

// fill opens the connections and returns what each costs.
func fill(p *process, name string, dial func(address string, i int) error) figure {
	check(dial(p.address, 0)) // what is made once
	before, _ := p.settle()
	var all sync.WaitGroup
	work := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range work {
				check(dial(p.address, i))
			}
		})
	}
	for i := range *connections {
		work <- i
	}
	close(work)
	all.Wait()
	after, settled := p.settle()
	return figure{
		Server: name, Connections: *connections, KiB: float64(after-before) / 1024 / float64(*connections),
		TotalMiB: float64(after) / (1 << 20), SettledAfter: settled.Round(time.Millisecond).String(),
	}
}

func dialBare(address string, _ int) error {
	ws, _, err := websocket.Dial(context.Background(), "ws://"+address, nil)
	if err == nil {
		go func() { _, _, _ = ws.Read(context.Background()) }()
	}
	return err
}

// prepare makes the segments, each with one entry.
func prepare(url string, id uuid.UUID) {
	redis, err := hub.NewClient(url)
	check(err)
	defer redis.Close()
	h, err := hub.Open(context.Background(), redis, nil)
	check(err)
	defer h.Close()
	appends := make([]streamhub.Append, *segments)
	for i := range appends {
		appends[i] = streamhub.Append{Space: "space", Segment: strconv.Itoa(i), Records: []streamhub.Record{{Payload: []byte("x")}}}
	}
	_, errs := h.Store(id).AppendAll(context.Background(), appends)
	for _, err := range errs {
		check(err)
	}
}

// follow opens a connection of its own and has one entry on it before it returns.
func follow(address string, id uuid.UUID, i int) error {
	p, err := client.NewWebSocketProvider(context.Background(), []string{"ws://" + address}, &client.WebSocketOptions{PingInterval: time.Hour})
	if err != nil {
		return err
	}
	first := make(chan error, 1)
	go func() {
		for _, err := range p.Store(id).Follow(context.Background(), "space", strconv.Itoa(i%*segments), nil) {
			first <- err
		}
	}()
	return <-first
}

// startRedis starts a Redis on a free port.
func startRedis() (url string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command(*server, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	check(cmd.Start())
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Sprintf("redis://127.0.0.1:%d", port), func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
