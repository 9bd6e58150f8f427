package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/lru"
	"github.com/seed-147127fe/streamhub/internal/option"
)

// Options configure a [Handler]; nil stands for the defaults.
type Options struct {
	// Prefix precedes /v1/stream/ and /stores/ in every path; the default is none.
	Prefix string
	// PublicURL is where clients reach the handler, as scheme://host[:port]. The URLs of wakes, keys and new streams
	// begin with it. The default is taken from each request, which is wrong if a proxy terminates TLS.
	PublicURL string
	// Store is the store that /v1/stream/ serves; the default is the nil UUID.
	Store uuid.UUID
	// Authorize returns nil if the sender of a request has a right. An error that wraps no sentinel of package
	// streamhub is answered with 401. Without Authorize every client has every right.
	Authorize func(r *http.Request, right streamhub.Right) error
	// CheckOrigin refuses requests from web pages of other origins. If it returns an error, the handler answers 403
	// before any other check. Without CheckOrigin and Authorize only pages of the handler's own origin are served.
	CheckOrigin func(r *http.Request) error
	// LongPollTimeout is how long a long-poll waits; the default is 20 s.
	LongPollTimeout time.Duration
	// EventStreamTime is how long an event stream lasts before its client has to reconnect; the
	// default is a minute.
	EventStreamTime time.Duration
	// WriteTimeout is how long a write to a client may block; the default is 30 s.
	WriteTimeout time.Duration
	// CacheBytes bounds the cache of encoded pages; the default is 32 MiB.
	CacheBytes int
	// LoopbackWebhooks lets webhooks use the addresses of this machine, public ones of its interfaces included. Private
	// addresses of other machines are never called.
	LoopbackWebhooks bool
	// Logger receives the failures that no client sees; the default discards them. Payloads and
	// tokens are never logged.
	Logger *slog.Logger
}

const (
	defaultLongPoll     = 20 * time.Second
	defaultEventStream  = time.Minute
	defaultWriteTimeout = 30 * time.Second
	defaultCache        = 32 << 20
	// drainSpread is the time over which Shutdown spreads the ends of readers.
	drainSpread = 2 * time.Second
)

// A Handler serves a hub as Durable Streams. It is safe for concurrent use.
type Handler struct {
	hub *hub.Hub
	opt Options
	// pages, lives and renews are caches of this process; no gateway needs the caches of another one. Entries of pages
	// and lives are checked against Redis before they are used.
	pages  *lru.Cache[pageKey, *page]
	lives  lives
	renews renewals
	wakes  *wakes

	// readers counts the requests that wait for entries. The end of its context also ends the goroutines of wakes.
	readers *drain.Group
}

// New makes a handler on h, which stays the caller's. The handler runs until [Handler.Shutdown], which must be called
// before h is closed; the end of ctx does not stop it.
func New(ctx context.Context, h *hub.Hub, o *Options) (*Handler, error) {
	d := &Handler{hub: h}
	if o != nil {
		d.opt = *o
	}
	if p := d.opt.Prefix; p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/")) {
		return nil, fmt.Errorf("prefix %q: want one that begins with a slash and does not end with one", p)
	}
	if err := checkPublicURL(d.opt.PublicURL); err != nil {
		return nil, err
	}
	if d.opt.Authorize == nil && d.opt.CheckOrigin == nil {
		d.opt.CheckOrigin = auth.OwnOrigin
	}
	d.opt.LongPollTimeout = cmp.Or(d.opt.LongPollTimeout, defaultLongPoll)
	d.opt.EventStreamTime = cmp.Or(d.opt.EventStreamTime, defaultEventStream)
	d.opt.WriteTimeout = cmp.Or(d.opt.WriteTimeout, defaultWriteTimeout)
	d.opt.CacheBytes = cmp.Or(d.opt.CacheBytes, defaultCache)
	option.Logger(&d.opt.Logger)
	d.pages = lru.New[pageKey, *page](d.opt.CacheBytes)
	d.readers = drain.New(ctx)
	d.wakes = newWakes(d)
	return d, nil
}

// checkPublicURL returns an error unless text is scheme://host[:port].
func checkPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the public URL %q: want scheme://host or scheme://host:port", text)
	}
	return nil
}

// Shutdown ends the waiting readers within two seconds, and waits for them and for every goroutine
// of the handler. If ctx ends first, Shutdown returns its error.
func (d *Handler) Shutdown(ctx context.Context) error { return d.readers.Stop(ctx, d.wakes.wait) }

// wait returns the context of a reader that waits for entries. The reader must call done when it ends.
func (d *Handler) wait(ctx context.Context, limit time.Duration) (_ context.Context, done func(), err error) {
	if !d.readers.Begin() {
		return nil, nil, streamhub.ErrShutdown
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	// Each reader ends at its own random time, so that they do not all reconnect at once.
	detach := context.AfterFunc(d.readers.Context(), func() { time.AfterFunc(jitter(drainSpread), cancel) })
	return ctx, func() {
		detach()
		cancel()
		d.readers.Done()
	}, nil
}

// Owns reports whether the handler serves a path. Such paths must not pass through an
// http.ServeMux, which cleans them: names may hold any bytes.
func (d *Handler) Owns(path string) bool {
	path, ok := strings.CutPrefix(path, d.opt.Prefix)
	if rest, other := strings.CutPrefix(path, stores); other {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	return ok && strings.HasPrefix(path, streams)
}

// ServeHTTP implements http.Handler.
func (d *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	root, path, err := d.route(r)
	if err != nil {
		d.fail(w, r, nil, err)
		return
	}
	// A preflight of a browser carries no token (Fetch standard), so it is answered without one.
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if d.opt.CheckOrigin != nil {
		if err := d.opt.CheckOrigin(r); err != nil {
			refuse(w, http.StatusForbidden, err.Error())
			return
		}
	}
	if path == reserved || strings.HasPrefix(path, reserved+"/") {
		d.serveReserved(w, r, root, strings.TrimPrefix(path, reserved))
		return
	}
	s, err := root.stream(path)
	if err != nil {
		d.fail(w, r, nil, err)
		return
	}
	serve, write := d.read, false
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead:
		serve = d.head
	case http.MethodPut:
		serve, write = d.create, true
	case http.MethodPost:
		serve, write = d.append, true
	case http.MethodDelete:
		serve, write = d.remove, true
	default:
		w.Header().Set("Allow", methods)
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	// The right is checked before the headers and the body, so that an unauthorized client costs no more than the check
	// of its token.
	err = d.authorize(r, s.right(write))
	if err == nil {
		err = checkSingle(r.Header)
	}
	if err != nil {
		d.fail(w, r, s, err)
		return
	}
	if err := serve(w, r, s); err != nil {
		d.fail(w, r, s, err)
	}
}

func (d *Handler) authorize(r *http.Request, right streamhub.Right) error {
	if d.opt.Authorize == nil {
		return nil
	}
	err := d.opt.Authorize(r, right)
	// An error of the program itself means that the client is not authenticated; see [Options.Authorize].
	if streamhub.CodeOf(err) == streamhub.CodeInternal {
		err = fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
	}
	if errors.Is(err, streamhub.ErrPermissionDenied) { // from elsewhere it would be the archive's refusal, whose text is not for clients
		err = &statusError{http.StatusForbidden, err.Error()}
	}
	return err
}
