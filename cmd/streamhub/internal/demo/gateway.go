package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/child"
)

// A gateway is a process of this program that serves the hub. It is safe for concurrent use.
type gateway struct {
	name, program, redis string
	env                  []string

	mu      sync.Mutex
	process *child.Process // nil when it does not run
	url     string
}

// address is where it serves, empty when it does not run.
func (g *gateway) address() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.process != nil {
		select {
		case <-g.process.Done(): // by itself
			g.process = nil
		default:
			return g.url
		}
	}
	return ""
}

// start starts it, unless it runs, and returns when it serves.
func (g *gateway) start(ctx context.Context) error {
	if g.address() != "" {
		return nil
	}
	cmd := exec.Command(g.program, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", g.redis)
	cmd.Env = g.env
	said := &tail{}
	cmd.Stderr = said
	out, in := io.Pipe()
	cmd.Stdout = in
	process, err := child.Start(cmd, true)
	if err != nil {
		return fmt.Errorf("gateway %s: %w", g.name, err)
	}
	first := make(chan string, 1)
	go func() {
		<-process.Done()
		_ = in.Close()
	}()
	go func() {
		lines := bufio.NewScanner(out)
		lines.Scan()
		first <- lines.Text()
		_, _ = io.Copy(io.Discard, out) // until it ends
	}()
	fields := []string{}
	select {
	case text := <-first:
		fields = strings.Fields(text)
	case <-ctx.Done():
	}
	if len(fields) < 2 {
		process.Stop(stopTime)
		return fmt.Errorf("gateway %s did not start (%w):\n%s", g.name, errors.Join(ctx.Err(), process.Err()), said)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.process, g.url = process, fields[1]
	return nil
}

// kill ends it without a warning.
func (g *gateway) kill() error {
	g.end(func(p *child.Process) {
		p.Signal(os.Kill)
		<-p.Done()
	})
	return nil
}

// stop ends it as a deploy does.
func (g *gateway) stop() {
	g.end(func(p *child.Process) { p.Stop(stopTime) })
}

func (g *gateway) end(how func(*child.Process)) {
	g.mu.Lock()
	process := g.process
	g.process = nil
	g.mu.Unlock()
	if process != nil {
		how(process)
	}
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const mostTail = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	t.kept = t.kept[max(0, len(t.kept)-mostTail):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.kept))
}

// gatewayHeader tells the page which gateway an answer comes from.
const gatewayHeader = "Demo-Gateway"

// A pane is what a reader connects through: a proxy before both gateways that prefers one of them.
type pane struct {
	gateways []*gateway // in the order of preference
	proxy    *httputil.ReverseProxy

	mu   sync.Mutex
	cuts map[*context.CancelFunc]struct{} // of the requests under way
}

type chosenKey struct{}

func newPane(all []*gateway, first int) *pane {
	p := &pane{cuts: map[*context.CancelFunc]struct{}{}}
	for n := range all {
		p.gateways = append(p.gateways, all[(first+n)%len(all)])
	}
	p.proxy = &httputil.ReverseProxy{
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // gateways die here all the time
		Rewrite: func(r *httputil.ProxyRequest) {
			to, _ := r.In.Context().Value(chosenKey{}).(*url.URL)
			r.SetURL(to)
			r.Out.Host = to.Host
			r.Out.Header.Del("Origin")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { away(w) },
	}
	return p
}

// away answers as proxies do, which know nothing of live streams.
func away(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "<h1>503 Service Temporarily Unavailable</h1>\n")
}

// choose returns the first gateway that runs, nil if there is none.
func choose(gateways []*gateway) (name string, to *url.URL) {
	for _, g := range gateways {
		if text := g.address(); text != "" {
			if u, err := url.Parse(text); err == nil {
				return g.name, u
			}
		}
	}
	return "", nil
}

// ServeHTTP implements http.Handler.
func (p *pane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, to := choose(p.gateways)
	if to == nil {
		away(w)
		return
	}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), chosenKey{}, to))
	defer cancel()
	p.mu.Lock()
	p.cuts[&cancel] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.cuts, &cancel)
		p.mu.Unlock()
	}()
	w.Header().Set(gatewayHeader, name)
	p.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// cut breaks the connections of the pane.
func (p *pane) cut() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for cancel := range p.cuts {
		(*cancel)()
	}
	return nil
}
