package demo

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub/internal/webclient"
)

// Options configure a demonstration. All but Redis have to be set.
type Options struct {
	// Program is this program, and Env what its gateways get as their environment.
	Program string
	Env     []string
	// Listener is where the page is served, on the loopback. It is closed.
	Listener net.Listener
	// Words is the number of words of an answer, and Pause the delay between two words.
	Words int
	Pause time.Duration
	// Redis is the server program; empty for redis-server or valkey-server, whichever is on PATH, or
	// else an embedded one.
	Redis string
	// Out gets a line with the address of the page.
	Out io.Writer
}

const (
	// startTime bounds the start of a gateway or of Redis.
	startTime = 30 * time.Second
	// stopTime is what each of them has to end in.
	stopTime = 3 * time.Second
	// mostLines is how many lines of the log are kept.
	mostLines = 50
)

//go:embed page
var files embed.FS

// A demo is a running demonstration.
type demo struct {
	o        Options
	redis    redis
	gateways []*gateway
	panes    []*pane
	work     sync.WaitGroup // producers, and what buttons began

	// doing is held while something is started or stopped: buttons take turns.
	doing sync.Mutex

	mu     sync.Mutex // guards what follows
	answer answer
	log    []line
	lines  int // how many there ever were
}

// An answer is the live stream that is being shown.
type answer struct {
	ID         string `json:"id"`
	Generation uint64 `json:"generation,omitempty"`
	Producer   int    `json:"producer"` // counted from 1
	Words      int    `json:"words"`    // produced, though perhaps not stored
	Waiting    int    `json:"waiting"`  // for being stored
	State      string `json:"state"`
	stop       context.CancelFunc
	taking     bool // a producer takes over and is not registered yet
}

// A line of the log says what was done and what came of it.
type line struct {
	Number int    `json:"number"`
	Time   string `json:"time"`
	Text   string `json:"text"`
}

// Run shows the page until ctx ends, and ends everything that it started.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{o: o}
	dir, err := os.MkdirTemp("", "streamhub-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if d.redis, err = openRedis(starting, dir, o.Redis); err != nil {
		return err
	}
	defer d.redis.close()
	for _, name := range []string{"A", "B"} {
		d.gateways = append(d.gateways, &gateway{name: name, program: o.Program, env: o.Env, redis: d.redis.url()})
	}
	defer d.stopGateways()
	for _, g := range d.gateways {
		if err := g.start(starting); err != nil {
			return err
		}
	}
	for n := range d.gateways {
		d.panes = append(d.panes, newPane(d.gateways, n))
	}
	running, stop := context.WithCancel(ctx)
	defer d.work.Wait()
	defer stop()
	d.ask(running)

	// Event streams are cut: the end of the connection tells their readers.
	server := &http.Server{Handler: d.handler(running), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return running }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(o.Listener) }()
	defer func() {
		_ = server.Close()
		<-ended //nolint:errcheck // it says that the server was closed
	}()
	if _, err := fmt.Fprintf(o.Out, "open http://%s/\n", o.Listener.Addr()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		ended <- err
		return err
	}
}

func (d *demo) stopGateways() {
	var stopping sync.WaitGroup
	for _, g := range d.gateways {
		stopping.Go(g.stop)
	}
	stopping.Wait()
}

func (d *demo) handler(ctx context.Context) http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(page))
	mux.HandleFunc("GET "+webclient.Path, webclient.Serve)
	mux.HandleFunc("GET /state", d.state)
	mux.HandleFunc("POST /do/{action}", func(w http.ResponseWriter, r *http.Request) {
		do := d.action(ctx, r.PathValue("action"))
		if do == nil {
			http.NotFound(w, r)
			return
		}
		d.work.Go(func() {
			d.doing.Lock()
			defer d.doing.Unlock()
			if ctx.Err() != nil {
				return
			}
			if err := do(); err != nil {
				d.note("%v", err)
			}
		})
		w.WriteHeader(http.StatusAccepted)
	})
	for n, p := range d.panes {
		prefix := fmt.Sprintf("/pane/%d", n+1)
		for _, path := range []string{"/v1/live", "/v1/live/"} {
			mux.Handle("GET "+prefix+path, http.StripPrefix(prefix, p))
		}
	}
	// Other pages of the browser press no buttons here, not even under a name of their own for this machine.
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.Host) {
			http.Error(w, "this page is for 127.0.0.1 and localhost", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

// loopback reports whether a Host header names this machine.
func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// action returns what a button does, nil for one that does not exist.
func (d *demo) action(ctx context.Context, name string) func() error {
	for n, g := range d.gateways {
		switch name {
		case "kill-" + g.name:
			return func() error { return d.noted(g.kill(), "gateway %s was killed, as kill -9 does", g.name) }
		case "start-" + g.name:
			return func() error {
				starting, cancel := context.WithTimeout(ctx, startTime)
				defer cancel()
				return d.noted(g.start(starting), "gateway %s started", g.name)
			}
		case fmt.Sprintf("cut-%d", n+1):
			return func() error { return d.noted(d.panes[n].cut(), "the connection of pane %d was cut", n+1) }
		}
	}
	return map[string]func() error{
		"pause-redis":   func() error { return d.noted(d.redis.pause(), "Redis paused") },
		"resume-redis":  func() error { return d.noted(d.redis.resume(), "Redis goes on") },
		"restart-redis": func() error { return d.restartRedis(ctx) },
		"takeover":      func() error { return d.takeOver(ctx) },
		"stop":          func() error { return d.stop(ctx) },
		"ask":           func() error { d.ask(ctx); return nil },
	}[name]
}

func (d *demo) restartRedis(ctx context.Context) error {
	d.note("Redis stops")
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return d.noted(d.redis.restart(starting), "Redis started again, with its data")
}

// noted writes down what was done, unless it failed.
func (d *demo) noted(err error, format string, args ...any) error {
	if err == nil {
		d.note(format, args...)
	}
	return err
}

func (d *demo) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines++
	d.log = append(d.log, line{d.lines, time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...)})
	d.log = d.log[max(0, len(d.log)-mostLines):]
}

// state answers with everything that the page shows besides the panes.
func (d *demo) state(w http.ResponseWriter, _ *http.Request) {
	type up struct {
		Name string `json:"name"`
		Up   bool   `json:"up"`
	}
	gateways := make([]up, 0, len(d.gateways))
	for _, g := range d.gateways {
		gateways = append(gateways, up{g.name, g.address() != ""})
	}
	kind, state := d.redis.state()
	d.mu.Lock()
	text, err := json.Marshal(map[string]any{
		"gateways": gateways, "redis": map[string]string{"kind": kind, "state": state}, "answer": d.answer, "log": d.log,
	})
	d.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // a page that has gone asks again
}
