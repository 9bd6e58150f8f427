package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/tmaxmax/go-sse"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

// liveCmd is about live streams.
type liveCmd struct {
	Publish livePublishCmd `cmd:"" help:"Produce a live stream from standard input, a chunk a line."`
	Read    liveReadCmd    `cmd:"" help:"Write the chunks of a live stream to standard output, a line each, and its verdict to standard error."`
	Cancel  liveCancelCmd  `cmd:"" help:"Ask the producer of a live stream to stop, and wait for the verdict."`
	Status  liveStatusCmd  `cmd:"" help:"Write the status of a live stream."`
	Ls      liveLsCmd      `cmd:"" help:"List the live streams of a space."`
}

// livePlace is a live stream, and where it is.
type livePlace struct {
	target
	Space string `default:"live" help:"Space of the live stream."`
	ID    string `arg:"" help:"Live stream."`
}

// A liveCall asks a gateway about one live stream; without one it has a gateway in this process.
type liveCall struct {
	*http.Client
	session *session
	place   *livePlace
	base    string
	close   func()
}

func (p *livePlace) open(s *session) (*liveCall, error) {
	c := &liveCall{Client: &http.Client{}, session: s, place: p, close: func() {}}
	if p.Redis == "" {
		if s.given("archive") {
			return nil, usagef("--archive goes with --redis: a gateway has an archive of its own")
		}
		server := p.gateways()[0]
		u, err := url.Parse(server)
		if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
			return nil, usagef("--server %q: want ws://HOST:PORT, wss://HOST:PORT, or the same with http", server)
		}
		u.Scheme = "http" + strings.TrimPrefix(u.Scheme, "ws")
		c.base = strings.TrimSuffix(u.String(), "/")
		return c, nil
	}
	redis, err := p.redisFlags.client(s, p.Redis)
	if err != nil {
		return nil, err
	}
	h, err := hub.Open(s.ctx, redis, &hub.Options{SweepEvery: -1})
	if err != nil {
		_ = redis.Close()
		if cause := context.Cause(s.ctx); cause != nil {
			return nil, cause
		}
		return nil, failedf("%w", err)
	}
	// Only this process can reach it.
	handler := livehttp.New(s.ctx, livehttp.Options{Streams: func(id uuid.UUID, space string) live.Streams { return h.Store(id).Live(space) }})
	pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(pipes)
	}()
	transport := &http.Transport{DialContext: pipes.dial}
	c.Transport, c.base = transport, "http://hub"
	c.close = func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), drainTime)
		defer cancel()
		_ = handler.Shutdown(bye)
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
		_ = h.Close()
		_ = redis.Close()
	}
	return c, nil
}

// A pipeListener is a listener that only this process can reach.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "hub", Net: "pipe"} }

// do makes a request; an answer that is an error becomes one.
func (c *liveCall) do(method, action string, query url.Values, body io.Reader, header ...string) (*http.Response, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("space", c.place.Space)
	at := fmt.Sprintf("%s/stores/%s/v1/live/%s%s?%s", c.base, c.place.Store, url.PathEscape(c.place.ID), action, query.Encode())
	r, err := http.NewRequestWithContext(c.session.ctx, method, at, body)
	if err != nil {
		return nil, err
	}
	if token := c.place.Token; token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := c.Do(r)
	if err != nil {
		if cause := context.Cause(c.session.ctx); cause != nil {
			return nil, cause
		}
		return nil, &statusError{exitFailed, &streamhub.UnavailableError{Reason: streamhub.ReasonGateway, Err: err}}
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	var failure struct{ Code, Message string }
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if json.Unmarshal(text, &failure) != nil || failure.Message == "" {
		failure.Message = fmt.Sprintf("the gateway answered %s", response.Status)
	}
	code := exitFailed
	switch streamhub.Code(failure.Code) {
	case streamhub.CodeOf(streamhub.ErrFenced):
		code = exitConflict
	case streamhub.CodeOf(streamhub.ErrHistoryLost), streamhub.CodeOf(streamhub.ErrTrimmed):
		code = exitHistory
	}
	condition := streamhub.Code(failure.Code).Err()
	if response.StatusCode >= 500 {
		condition = streamhub.ErrUnavailable // the gateway, or what stands before it, is about to stop or to start
	}
	return nil, &statusError{code, &answeredError{failure.Message, condition}}
}

// An answeredError is what a gateway has answered, and the condition that it stands for.
type answeredError struct {
	message   string
	condition error
}

func (e *answeredError) Error() string { return e.message }
func (e *answeredError) Unwrap() error { return e.condition }

// body copies a JSON answer to w, as one line.
func (c *liveCall) body(r *http.Response, w io.Writer) (streamhub.Verdict, error) {
	defer r.Body.Close()
	var verdict streamhub.Verdict
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &verdict)
	}
	if err != nil {
		return verdict, failedf("the answer was cut off: %w", err)
	}
	_, err = w.Write(append(bytes.TrimSpace(text), '\n'))
	return verdict, err
}

// ended is the end of a command whose live stream has this verdict.
func ended(v streamhub.Verdict) error {
	if v.Kind != streamhub.VerdictDone {
		return &statusError{code: exitFailed}
	}
	return nil
}

type livePublishCmd struct {
	livePlace
	Takeover bool `help:"End a generation that is being produced and begin the next one."`
}

// Run ends with the verdict on standard error.
func (c *livePublishCmd) Run(s *session) error {
	call, err := c.open(s)
	if err != nil {
		return err
	}
	defer call.close()
	query := url.Values{}
	if c.Takeover {
		query.Set("takeover", "1")
	}
	// What stands still on standard input must not keep the command from ending.
	r, err := call.do(http.MethodPost, "", query, io.NopCloser(s.stdin), "Content-Type", "text/plain")
	if err != nil {
		return err
	}
	verdict, err := call.body(r, s.stderr)
	if err != nil {
		return err
	}
	return ended(verdict)
}

type liveReadCmd struct {
	livePlace
	From string        `placeholder:"CURSOR" help:"Resume after the chunk with this cursor."`
	Wait time.Duration `placeholder:"D" help:"How long to wait for a live stream that has not begun, 5m at most."`
}

// readAgain is how long to wait before the gateway is asked again.
const readAgain = time.Second

// Run writes chunks until the live stream ends, through any number of connections.
func (c *liveReadCmd) Run(s *session) error {
	call, err := c.open(s)
	if err != nil {
		return err
	}
	defer call.close()
	cursor := c.From
	for tries := 0; ; tries++ {
		verdict, err := c.connection(s, call, &cursor)
		switch {
		case err == nil && verdict != nil:
			return ended(*verdict)
		case s.ctx.Err() != nil:
			s.note("cursor: %s", cursor)
			return context.Cause(s.ctx)
		case err != nil && (tries == 0 || !streamhub.Retryable(err)):
			return err
		}
		pause.For(s.ctx, readAgain)
	}
}

// connection reads until the connection ends; verdict is nil if the live stream goes on.
func (c *liveReadCmd) connection(s *session, call *liveCall, cursor *string) (verdict *streamhub.Verdict, err error) {
	query := url.Values{}
	if c.Wait != 0 && *cursor == "" {
		query.Set("wait", c.Wait.String())
	}
	r, err := call.do(http.MethodGet, "", query, nil, "Last-Event-ID", *cursor)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	for e, err := range sse.Read(r.Body, &sse.ReadConfig{MaxEventSize: 4 * streamhub.MaxRecordBytes}) {
		if err != nil {
			return nil, nil // the connection is cut
		}
		data := []byte(e.Data)
		switch e.Type {
		case "end":
			verdict = &streamhub.Verdict{}
			if err := json.Unmarshal(data, verdict); err != nil {
				return nil, failedf("a verdict that cannot be read: %w", err)
			}
			fmt.Fprintf(s.stderr, "%s\n", data)
			return verdict, nil
		case "error":
			return nil, failedf("%s", data)
		case "binary":
			if data, err = base64.StdEncoding.DecodeString(e.Data); err != nil {
				return nil, failedf("a chunk that cannot be read: %w", err)
			}
		}
		if _, err := s.stdout.Write(append(data, '\n')); err != nil {
			return nil, err
		}
		*cursor = e.LastEventID
	}
	return nil, nil
}

type liveCancelCmd struct {
	livePlace
	Reason string `help:"Reason to tell the producer."`
	NoWait bool   `help:"End as soon as the request is stored."`
}

// Run writes the verdict.
func (c *liveCancelCmd) Run(s *session) error {
	call, err := c.open(s)
	if err != nil {
		return err
	}
	defer call.close()
	query := url.Values{}
	if c.NoWait {
		query.Set("wait", "0")
	}
	body, err := json.Marshal(map[string]string{"reason": c.Reason})
	if err != nil {
		return err
	}
	r, err := call.do(http.MethodPost, "/cancel", query, bytes.NewReader(body), "Content-Type", "application/json")
	if err != nil {
		return err
	}
	_, err = call.body(r, s.stdout)
	return err
}

type liveStatusCmd struct {
	livePlace
}

// Run writes it as one line of JSON.
func (c *liveStatusCmd) Run(s *session) error {
	call, err := c.open(s)
	if err != nil {
		return err
	}
	defer call.close()
	r, err := call.do(http.MethodGet, "/status", nil, nil)
	if err != nil {
		return err
	}
	_, err = call.body(r, s.stdout)
	return err
}
