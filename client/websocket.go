package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/session"
)

// WebSocketOptions configure a WebSocketProvider; nil stands for the defaults.
type WebSocketOptions struct {
	// Token returns the token to present. It is called for every dial and for [WebSocketProvider.RefreshToken], by one
	// goroutine for dials. By default no token is presented.
	//
	// A gateway ends a connection when its token expires. Its calls end as with any lost connection and can be retried:
	// the next dial presents a new token. So the followers, subscriptions, producers and leases of a [Client] continue.
	// If Token fails, returns the token that has expired again, or the gateway refuses the new one, calls end with
	// [streamhub.ErrUnauthenticated], which is final.
	Token func(ctx context.Context) (string, error)
	// RetryAuthFailures turns that error into a retryable [streamhub.ErrUnavailable]. It is for token issuers that may
	// be down, or whose keys reach the gateway late. Followers, subscriptions and producers then never end because of a
	// token.
	RetryAuthFailures bool
	// OnDialFailure, if not nil, is called after each dial that failed.
	OnDialFailure func(url string, err error)
	// Window is how many bytes of entries may wait for one reader; the default is 1 MiB. A slow
	// reader holds at most that much and does not delay the others.
	Window int64
	// DialTimeout bounds one dial; the default is 10 s.
	DialTimeout time.Duration
	// PingInterval is the interval between pings of the gateway, and how long it may take to answer
	// one; the default is 10 s.
	PingInterval time.Duration
	// HTTPClient makes the dials; the default is http.DefaultClient. Its Timeout must be 0.
	HTTPClient *http.Client
	// Header is sent with every dial.
	Header http.Header
	// Logger receives background failures, which no call returns; the default discards them. Tokens
	// are never logged.
	Logger *slog.Logger
}

const (
	defaultWindow      = 1 << 20
	defaultDialTimeout = 10 * time.Second
	defaultPing        = 10 * time.Second
)

// A WebSocketProvider reaches a hub through gateways. All calls share one connection, which the
// first call opens. It makes each call once; a [Client] on it retries. It is safe for concurrent
// use.
type WebSocketProvider struct {
	urls   []string
	opt    WebSocketOptions
	client string // identifies this provider in the ids of its producers
	// ctx ends with Close. tasks are the dial, the readers of connections, memberships and the functions passed to
	// OnReconnect.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	conn    *connection // nil if no connection accepts calls
	dialing *dialing    // the dial under way
	dialed  int         // successful dials
	// next is an index of urls. Only the dial in progress moves it, or lost while there is a connection: never both.
	next      int
	listeners map[int]func()
	listener  int
	spent     string // the token with which a connection has ended; "" for none
	tails     map[tailKey]*tail
	closed    bool
}

// NewWebSocketProvider returns a provider for gateways, which are tried in turn: ws://host:port or
// wss://host:port, with a path prefix if the gateway has one. It dials nothing. It uses the values
// of ctx, and ignores its end.
func NewWebSocketProvider(ctx context.Context, gateways []string, o *WebSocketOptions) (*WebSocketProvider, error) {
	p := &WebSocketProvider{
		client: strings.ReplaceAll(uuid.NewString(), "-", "")[:16], listeners: map[int]func(){}, tails: map[tailKey]*tail{},
	}
	if o != nil {
		p.opt = *o
	}
	if p.opt.Window <= 0 {
		p.opt.Window = defaultWindow
	}
	if p.opt.DialTimeout == 0 {
		p.opt.DialTimeout = defaultDialTimeout
	}
	if p.opt.PingInterval == 0 {
		p.opt.PingInterval = defaultPing
	}
	option.Logger(&p.opt.Logger)
	for _, gateway := range gateways {
		u, err := url.Parse(gateway)
		if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
			named := "the text"
			if err == nil { // not the text of err, since the URL may hold a password
				named = strconv.Quote(u.Redacted())
			}
			return nil, fmt.Errorf("%w: %s is not the address of a gateway: write ws://host:port or wss://host:port", streamhub.ErrInvalidArgument, named)
		}
		u.Path = strings.TrimRight(u.Path, "/") + "/streamz"
		p.urls = append(p.urls, u.String())
	}
	if len(p.urls) == 0 {
		return nil, fmt.Errorf("%w: no gateway is named: want an address such as wss://hub.example", streamhub.ErrInvalidArgument)
	}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return p, nil
}

// Store returns the store of one tenant. It sends nothing and needs no closing.
func (p *WebSocketProvider) Store(id uuid.UUID) streamhub.Store { return &remoteStore{p, id} }

// Connect opens the connection now if there is none, and makes a call, so that a program can check early that the
// gateway serves it. A missing or refused token is [streamhub.ErrUnauthenticated]. Connect does not check what the
// token allows.
func (p *WebSocketProvider) Connect(ctx context.Context) error {
	// The call asks for no streams, so the gateway need not ask Redis. A call is needed, because a gateway accepts a
	// connection without a valid token and refuses only its calls.
	s := remoteStore{p, uuid.Nil}
	_, err := s.do(ctx, &wire.LiveActive{Space: "live"})
	if errors.Is(err, streamhub.ErrPermissionDenied) {
		return nil // the gateway accepted the token, which allows other calls
	}
	return err
}

// OnReconnect calls f after every connection but the first, in a goroutine of its own, until stop
// is called.
func (p *WebSocketProvider) OnReconnect(f func()) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener++
	id := p.listener
	p.listeners[id] = f
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.listeners, id)
	}
}

// RefreshToken presents a new token on the open connection, so that it outlives the old one and no call is interrupted.
// Programs need not call it: without it the provider reconnects when the token expires. It does nothing if there is no
// connection. After an error the old token stays in force.
func (p *WebSocketProvider) RefreshToken(ctx context.Context) error {
	p.mu.Lock()
	l := p.conn
	p.mu.Unlock()
	if l == nil || p.opt.Token == nil {
		return nil
	}
	token, err := p.opt.Token(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
	}
	if err := l.auth(ctx, token); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.token = token
	return nil
}

// Close ends every call with [streamhub.ErrShutdown] and waits for the goroutines of the provider.
func (p *WebSocketProvider) Close() error {
	p.mu.Lock()
	p.closed = true
	l := p.conn
	p.conn = nil
	p.mu.Unlock()
	// The lock was released, because lose takes it.
	if l != nil {
		l.lose(streamhub.ErrShutdown)
	}
	p.cancel()
	p.tasks.Wait()
	return nil
}

// start runs f in a goroutine that Close waits for. The lock is held.
func (p *WebSocketProvider) start(f func()) bool {
	if p.closed {
		return false
	}
	p.tasks.Go(f)
	return true
}

// run is like start, for callers that do not hold the lock.
func (p *WebSocketProvider) run(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start(f)
}

// connect returns the connection, and makes one if there is none. All callers that need one wait for
// the same dial. The end of ctx ends the wait of this caller only.
func (p *WebSocketProvider) connect(ctx context.Context) (*connection, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // not sent: the call has had no effect
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, streamhub.ErrShutdown
	}
	if l := p.conn; l != nil {
		p.mu.Unlock()
		return l, nil
	}
	d := p.dialing
	if d == nil {
		// The error remains if the dial succeeds only after Close.
		d = &dialing{done: make(chan struct{}), err: streamhub.ErrShutdown}
		p.dialing = d
		p.start(func() { p.dial(d) })
	}
	p.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A dialing is a dial that callers wait for. conn and err are set before done is closed.
type dialing struct {
	done chan struct{}
	conn *connection
	err  error
}

// dial tries every gateway once. It begins with the one after the gateway that failed last or whose connection was lost
// last.
func (p *WebSocketProvider) dial(d *dialing) {
	var l *connection
	var failed error
	for range p.urls {
		address := p.urls[p.next%len(p.urls)] // only one dial runs at a time
		ws, token, err := p.dialOne(address)
		if err == nil {
			l = newConnection(p, ws, token)
			break
		}
		p.next++
		failed = err
		if p.opt.OnDialFailure != nil && p.ctx.Err() == nil {
			p.opt.OnDialFailure(address, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(d.done)
	p.dialing = nil
	if l == nil {
		d.err = failed
		return
	}
	if !p.start(l.read) {
		l.conn.Reset()
		return
	}
	l.conn.StartHeartbeat(l.ctx, p.opt.PingInterval)
	p.conn, d.conn, d.err = l, l, nil
	if p.dialed++; p.dialed > 1 {
		for _, f := range p.listeners {
			p.start(f)
		}
	}
}

// dialOne dials one gateway, and returns the token that it has presented. Its errors say whether a later attempt can
// help: a refused token is final, unless the options say otherwise.
func (p *WebSocketProvider) dialOne(address string) (_ *session.Conn, token string, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.opt.DialTimeout)
	defer cancel()
	header := p.opt.Header.Clone()
	if p.opt.Token != nil {
		if token, err = p.opt.Token(ctx); err != nil {
			return nil, "", p.refused(fmt.Errorf("no token: %w", err))
		}
		p.mu.Lock()
		spent := token != "" && token == p.spent
		p.mu.Unlock()
		if spent {
			// A gateway whose clock is behind might accept the expired token for a moment, again and again.
			return nil, "", p.refused(errors.New("the token has expired, and Token returned the same one again"))
		}
		if header == nil {
			header = http.Header{}
		}
		header.Set("Authorization", "Bearer "+token)
	}
	conn := session.NewConn(&session.ConnConfig{
		URL: address, Headers: header, Subprotocols: []string{wire.Subprotocol}, HTTPClient: p.opt.HTTPClient,
		DialTimeout: p.opt.DialTimeout, WriteWait: p.opt.PingInterval,
		MaxMessageSize: 1 << 62, // the gateway is trusted, and credit bounds what it sends
	})
	err = conn.Connect(ctx)
	var failed *session.DialError
	errors.As(err, &failed)
	switch {
	case err == nil && conn.Subprotocol() != wire.Subprotocol:
		conn.Reset()
		return nil, "", fmt.Errorf("%w: %s does not speak %s", streamhub.ErrInvalidArgument, address, wire.Subprotocol)
	case err == nil:
		return conn, token, nil
	case failed != nil && (failed.Status == http.StatusUnauthorized || failed.Status == http.StatusForbidden):
		return nil, "", p.refused(errors.New(http.StatusText(failed.Status)))
	case failed != nil && failed.Status == http.StatusNotFound:
		return nil, "", down(fmt.Errorf("what answers there is no gateway, an admin listener or another server say: %w", err))
	case failed != nil && failed.Status == http.StatusTooManyRequests:
		// The limit can be free again later, so the call may be repeated. The cause stays visible to errors.Is.
		return nil, "", down(fmt.Errorf("%w: %s", streamhub.ErrLimitExceeded, http.StatusText(failed.Status)))
	}
	return nil, "", down(err)
}

// refused is the error for a token that the gateway does not take; see
// [WebSocketOptions.RetryAuthFailures].
func (p *WebSocketProvider) refused(err error) error {
	if p.opt.RetryAuthFailures {
		return down(err)
	}
	return fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
}

// down is the retryable error of a gateway that cannot be reached.
func down(err error) error {
	return &streamhub.UnavailableError{Reason: streamhub.ReasonGateway, Err: err}
}

// unopened is the error of calls that openAll did not begin.
func unopened(err error) error {
	if errors.Is(err, streamhub.ErrTooLarge) {
		return err
	}
	return down(err)
}

// lost forgets a connection. The next dial begins with another gateway, which may work where this one did not. expired
// says that the token of the connection has expired.
func (p *WebSocketProvider) lost(l *connection, expired bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if expired {
		p.spent = l.token
	}
	if p.conn == l {
		p.conn = nil
		p.next++ // another gateway may work
	}
}
