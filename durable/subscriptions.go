package durable

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A subscriptionError is an answer with one of the codes of the protocol.
type subscriptionError struct {
	status  int
	code    string
	message string
	holder  string
}

func (e *subscriptionError) Error() string { return e.message }

func invalidRequest(message string) error {
	return &subscriptionError{status: http.StatusBadRequest, code: "INVALID_REQUEST", message: message}
}

func rejected(message string) error {
	return &subscriptionError{status: http.StatusBadRequest, code: "WEBHOOK_URL_REJECTED", message: message}
}

var (
	errExists  = &subscriptionError{status: http.StatusConflict, code: "SUBSCRIPTION_ALREADY_EXISTS", message: "the subscription exists with another configuration"}
	errToken   = &subscriptionError{status: http.StatusUnauthorized, code: "TOKEN_INVALID", message: "the token is not that of the wake"}
	errFenced  = &subscriptionError{status: http.StatusConflict, code: "FENCED", message: "the wake is over"}
	errNoWork  = &subscriptionError{status: http.StatusConflict, code: "NO_PENDING_WORK", message: "there is nothing to do"}
	errInvalid = &subscriptionError{status: http.StatusConflict, code: "INVALID_OFFSET", message: "an offset goes back, or beyond the end of its stream"}
)

// A subscriptionCall is one request about a subscription.
type subscriptionCall struct {
	*Handler
	root     *root
	register register
	id       string
}

const (
	maxRequest = 1 << 20
	// wakeStreams is how many streams one wake is about at most; what is left makes the next one.
	wakeStreams = 256
	// claimPatience is how long a claim waits for a wake that is due.
	claimPatience = 300 * time.Millisecond
)

// serveReserved answers for what lies under __ds and is no stream.
func (d *Handler) serveReserved(w http.ResponseWriter, r *http.Request, o *root, path string) {
	answer, status, err := d.reserved(w, r, o, path)
	var known *subscriptionError
	switch {
	case errors.As(err, &known):
		type body struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Holder  string `json:"current_holder,omitempty"`
		}
		reply(w, known.status, map[string]body{"error": {known.code, known.message, known.holder}})
	case err != nil:
		d.fail(w, r, nil, err)
	case answer == nil:
		w.WriteHeader(status)
	default:
		reply(w, status, answer)
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentsJSON)
		h.Set("Cache-Control", cacheNothing)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (d *Handler) reserved(w http.ResponseWriter, r *http.Request, o *root, path string) (answer any, status int, err error) {
	if path == "/jwks.json" && r.Method == http.MethodGet {
		g, err := d.knownSigner(r.Context())
		if err != nil {
			return nil, 0, err
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		if g == nil { // no webhook was signed yet
			w.Header().Set("Cache-Control", cacheNothing)
			return keySet{[]jwk{}}, http.StatusOK, nil
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		return g.keySet(), http.StatusOK, nil
	}
	path, ok := strings.CutPrefix(path, "/subscriptions/")
	id, action, _ := strings.Cut(path, "/")
	if !ok || streamhub.CheckName("subscription", id) != nil {
		return nil, 0, errNoStream
	}
	c := &subscriptionCall{d, o, d.register(o.store.ID()), id}
	action, path, _ = strings.Cut(action, "/")
	switch route := r.Method + " " + action; route {
	case "POST callback", "POST ack", "POST release": // with the token of the wake
		return c.settle(r, action)
	case "PUT ", "GET ", "DELETE ", "POST streams", "DELETE streams", "POST claim":
		if err := d.authorize(r, streamhub.Right{Store: o.store.ID(), Write: r.Method != http.MethodGet}); err != nil {
			return nil, 0, err
		}
		switch route {
		case "PUT ":
			return c.put(r)
		case "GET ":
			return c.get(r.Context())
		case "DELETE ":
			return c.delete(r.Context())
		case "POST streams":
			return c.link(r)
		case "DELETE streams":
			return c.unlink(r.Context(), trimPath(path))
		}
		return c.claim(r)
	}
	if slices.Contains([]string{"", "streams", "claim", "ack", "release", "callback"}, action) {
		return nil, 0, &statusError{http.StatusMethodNotAllowed, "method not allowed"}
	}
	return nil, 0, errNoStream
}

// input reads a request of JSON.
func input(r *http.Request, into any) error {
	if err := plainBody(r); err != nil {
		return err
	}
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxRequest))
	if err != nil {
		return tooLarge(err)
	}
	if len(text) == 0 {
		text = []byte("{}")
	}
	if json.Unmarshal(text, into) != nil {
		return invalidRequest("the body is not what it should be")
	}
	return nil
}

func (c *subscriptionCall) put(r *http.Request) (any, int, error) {
	var text json.RawMessage
	if err := input(r, &text); err != nil {
		return nil, 0, err
	}
	config, err := parseSubscription(text, c.opt.LoopbackWebhooks)
	if err != nil {
		return nil, 0, err
	}
	status := http.StatusOK
	var found *subscription
	err = c.register.change(r.Context(), c.id, func(s *subscription) (map[string]*link, error) {
		found = s
		if s.sequence > 0 && !s.Deleted {
			if !s.Config.equal(&config) {
				return nil, errExists
			}
			return nil, errSame
		}
		status = http.StatusCreated
		s.begins = true
		s.core = core{Config: config, Root: c.root.base + c.root.path, Created: time.Now().UnixMilli(), Generation: s.Generation}
		return c.initial(r.Context(), &config)
	})
	if err != nil {
		return nil, 0, err
	}
	c.wakes.nudge()
	answer, err := c.describe(r.Context(), found)
	return answer, status, err
}

// initial links what is there already, as handled: a subscription begins now.
func (c *subscriptionCall) initial(ctx context.Context, config *subscriptionConfig) (map[string]*link, error) {
	links := map[string]*link{}
	add := func(space, segment, path string, explicit bool) error {
		status, err := c.root.store.Status(ctx, space, segment)
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
		l := &link{Explicit: explicit}
		if err == nil {
			l.Acked, l.Lineage = tailOf(&status), status.Position.Lineage
		}
		links[path] = l
		return nil
	}
	spaces, all := config.spaces()
	if all {
		for space, err := range c.root.store.Spaces(ctx) {
			if err != nil {
				return nil, err
			}
			spaces = append(spaces, space)
		}
	}
	for _, space := range spaces {
		for segment, err := range c.root.store.Segments(ctx, space) {
			if err != nil {
				return nil, err
			}
			if path := pathOf(space, segment); config.matches(path) {
				if err := add(space, segment, path, false); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, path := range config.Streams {
		s, err := c.root.stream(path)
		if err != nil {
			return nil, err
		}
		if err := add(s.space, s.segment, pathOf(s.space, s.segment), true); err != nil {
			return nil, err
		}
	}
	return links, nil
}

// existing loads a subscription that is there.
func (c *subscriptionCall) existing(ctx context.Context) (*subscription, error) {
	s, err := c.register.load(ctx, c.id)
	if err == nil && (s.sequence == 0 || s.Deleted) {
		err = errNone
	}
	return s, err
}

// edit changes a subscription that is there.
func (c *subscriptionCall) edit(ctx context.Context, change func(s *subscription) (map[string]*link, error)) error {
	return c.register.change(ctx, c.id, func(s *subscription) (map[string]*link, error) {
		if s.sequence == 0 || s.Deleted {
			return nil, errNone
		}
		return change(s)
	})
}

func (c *subscriptionCall) get(ctx context.Context) (any, int, error) {
	s, err := c.existing(ctx)
	if err != nil {
		return nil, 0, err
	}
	answer, err := c.describe(ctx, s)
	return answer, http.StatusOK, err
}

// describe is how clients see a subscription.
func (c *subscriptionCall) describe(ctx context.Context, s *subscription) (map[string]any, error) {
	type linked struct {
		Path  string `json:"path"`
		Type  string `json:"link_type"`
		Acked offset `json:"acked_offset"`
	}
	streams := make([]linked, 0, len(s.links))
	for path, l := range s.links {
		streams = append(streams, linked{path, l.kind(), l.Acked})
	}
	slices.SortFunc(streams, func(a, b linked) int { return strings.Compare(a.Path, b.Path) })
	answer := map[string]any{
		"id": c.id, "type": s.Config.Type, "streams": streams, "lease_ttl_ms": s.Config.LeaseMS,
		"status": s.status(), "created_at": millis.Time(s.Created).Format(time.RFC3339Nano),
	}
	for name, value := range map[string]string{"pattern": s.Config.Pattern, "wake_stream": s.Config.WakeStream, "description": s.Config.Description} {
		if value != "" {
			answer[name] = value
		}
	}
	if s.Config.Webhook != nil {
		g, err := c.signer(ctx)
		if err != nil {
			return nil, err
		}
		answer["webhook"] = map[string]any{
			"url":     s.Config.Webhook.URL,
			"signing": map[string]string{"alg": "ed25519", "kid": g.kid, "jwks_url": c.root.url(reserved + "/jwks.json")},
		}
	}
	return answer, nil
}

// delete keeps what tells later wakes from earlier ones.
func (c *subscriptionCall) delete(ctx context.Context) (any, int, error) {
	err := c.edit(ctx, func(s *subscription) (map[string]*link, error) {
		s.core = core{Deleted: true, Generation: s.Generation}
		return nil, nil
	})
	if errors.Is(err, errNone) {
		err = nil
	}
	return nil, http.StatusNoContent, err
}

func (c *subscriptionCall) link(r *http.Request) (any, int, error) {
	var body struct {
		Streams []string `json:"streams"`
	}
	if err := input(r, &body); err != nil {
		return nil, 0, err
	}
	if len(body.Streams) == 0 || len(body.Streams) > maxExplicit {
		return nil, 0, invalidRequest("streams is an array of 1 to 1000 paths")
	}
	for i, path := range body.Streams {
		body.Streams[i] = trimPath(path)
	}
	links, err := c.initial(r.Context(), &subscriptionConfig{Streams: body.Streams})
	if err != nil {
		return nil, 0, err
	}
	err = c.edit(r.Context(), func(s *subscription) (map[string]*link, error) {
		for path, l := range links {
			if had := s.links[path]; had != nil {
				l.Acked, l.Lineage = had.Acked, had.Lineage
			}
		}
		return links, nil
	})
	return nil, http.StatusNoContent, err
}

func (c *subscriptionCall) unlink(ctx context.Context, path string) (any, int, error) {
	stream, err := c.root.stream(path)
	if err != nil {
		return nil, 0, err
	}
	path = pathOf(stream.space, stream.segment)
	err = c.edit(ctx, func(s *subscription) (map[string]*link, error) {
		l := s.links[path]
		switch {
		case l == nil || !l.Explicit:
			return nil, errSame
		case s.Config.matches(path):
			return map[string]*link{path: {Acked: l.Acked, Lineage: l.Lineage}}, nil
		}
		return map[string]*link{path: nil}, nil
	})
	return nil, http.StatusNoContent, err
}

// A wakeStream is a stream of a wake, as its worker sees it.
type wakeStream struct {
	Path    string `json:"path"`
	Type    string `json:"link_type"`
	Acked   offset `json:"acked_offset"`
	Tail    offset `json:"tail_offset"`
	Pending bool   `json:"has_pending"`

	tip tip
}

// look says how the streams of a wake are now. Streams that are gone are left out.
func (o *root) look(ctx context.Context, s *subscription, paths []string) ([]wakeStream, error) {
	found := []wakeStream{}
	for _, path := range paths {
		stream, err := o.stream(path)
		if err != nil {
			return nil, err
		}
		status, err := o.store.Status(ctx, stream.space, stream.segment)
		if errors.Is(err, streamhub.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, tip := s.links[path], tipOf(&status)
		item := wakeStream{Path: path, Type: l.kind(), Tail: tip.offset, Pending: l.pending(tip), tip: tip}
		held, err := stream.holds(ctx, l, &status)
		if err != nil {
			return nil, err
		}
		if held { // otherwise all that is there is to be handled
			item.Acked = l.Acked
		}
		found = append(found, item)
	}
	return found, nil
}

// holds reports whether what was handled of a stream is still a part of it.
func (s *stream) holds(ctx context.Context, l *link, status *streamhub.Status) (bool, error) {
	switch {
	case l == nil || l.Acked.start() || l.Acked.life != lifeOf(status):
		return false, nil
	case l.Lineage != 0 && l.Lineage == status.Position.Lineage && l.Acked.sequence <= status.LastSequence:
		return true, nil
	}
	return s.proven(ctx, l.Acked, status)
}

// claim gives the wake under way to a worker, or begins one if there is something to do.
func (c *subscriptionCall) claim(r *http.Request) (any, int, error) {
	ctx := r.Context()
	var body struct {
		Worker string `json:"worker"`
	}
	if err := input(r, &body); err != nil {
		return nil, 0, err
	}
	if body.Worker == "" || len(body.Worker) > streamhub.MaxNameLength {
		return nil, 0, invalidRequest("worker is a name")
	}
	var claimed *subscription
	take := func(s *subscription) (map[string]*link, error) {
		claimed = s
		switch {
		case s.Config.Type != pullKind:
			return nil, invalidRequest("only a pull-wake subscription is claimed")
		case s.Held:
			return nil, &subscriptionError{status: http.StatusConflict, code: "ALREADY_CLAIMED", message: "a worker has the wake", holder: s.Holder}
		case s.Wake == "":
			pending, err := c.pending(ctx, s)
			if err != nil {
				return nil, err
			}
			if len(pending) == 0 {
				return nil, errNoWork
			}
			s.rise(pending)
		}
		s.hold(body.Worker)
		return nil, nil
	}
	err := c.edit(ctx, take)
	if errors.Is(err, errNoWork) && c.awaitWake(ctx, claimed) {
		err = c.edit(ctx, take)
	}
	if err != nil {
		return nil, 0, err
	}
	g, err := c.signer(ctx)
	if err != nil {
		return nil, 0, err
	}
	streams, err := c.root.look(ctx, claimed, claimed.Streams)
	if err != nil {
		return nil, 0, err
	}
	return map[string]any{
		"wake_id": claimed.Wake, "generation": claimed.Generation, "lease_ttl_ms": claimed.Config.LeaseMS, "streams": streams,
		"token": g.token(c.register, c.id, claimed.Generation, claimed.Wake),
	}, http.StatusOK, nil
}

// pending looks for something to do among the streams that are linked, or some of them.
func (c *subscriptionCall) pending(ctx context.Context, s *subscription) ([]string, error) {
	var paths []string
	for path := range s.links {
		if paths = append(paths, path); len(paths) == wakeStreams {
			break
		}
	}
	streams, err := c.root.look(ctx, s, paths)
	paths = nil
	for _, item := range streams {
		if item.Pending {
			paths = append(paths, item.Path)
		}
	}
	return paths, err
}

// awaitWake waits a little for a wake: only the gateway that serves the subscription sees
// every stream.
func (c *subscriptionCall) awaitWake(ctx context.Context, s *subscription) bool {
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for _, err := range c.register.log.FollowSegment(ctx, c.register.space, c.id, &streamhub.FollowOptions{FromSequence: s.sequence + 1}) {
		return err == nil
	}
	return false
}

// settle takes what a worker says of its wake.
func (c *subscriptionCall) settle(r *http.Request, action string) (any, int, error) {
	ctx := r.Context()
	var body struct {
		Wake       string `json:"wake_id"`
		Generation uint64 `json:"generation"`
		Done       bool   `json:"done"`
		Acks       []struct {
			Stream string `json:"stream"`
			Path   string `json:"path"`
			Offset string `json:"offset"`
		} `json:"acks"`
	}
	g, err := c.knownSigner(ctx)
	if err != nil {
		return nil, 0, err
	}
	if g == nil {
		return nil, 0, errToken // no wake was ever made
	}
	generation, wake, ok := g.checks(auth.Bearer(r), c.register, c.id)
	if !ok {
		return nil, 0, errToken // before the body is read
	}
	if err := input(r, &body); err != nil {
		return nil, 0, err
	}
	if body.Generation != generation || body.Wake != wake {
		return nil, 0, errToken
	}
	next := false
	err = c.edit(ctx, func(s *subscription) (map[string]*link, error) {
		if !s.Held || s.Generation != body.Generation || s.Wake != body.Wake {
			return nil, errFenced
		}
		if action == "release" {
			s.idle()
			return nil, nil
		}
		acked := map[string]*link{}
		for _, a := range body.Acks {
			path, err := c.ack(ctx, s, a.Stream+a.Path, a.Offset, acked)
			if err != nil {
				return nil, err
			}
			s.links[path] = acked[path]
		}
		if !body.Done {
			return acked, nil // and the lease begins anew
		}
		left, err := c.root.look(ctx, s, s.Streams)
		if err != nil {
			return nil, err
		}
		next = slices.ContainsFunc(left, func(item wakeStream) bool { return item.Pending })
		s.idle()
		return acked, nil
	})
	if err != nil || action == "release" {
		return nil, http.StatusNoContent, err
	}
	return map[string]bool{"ok": true, "next_wake": next}, http.StatusOK, nil
}

// ack moves a stream forward.
func (c *subscriptionCall) ack(ctx context.Context, s *subscription, path, text string, acked map[string]*link) (string, error) {
	stream, err := c.root.stream(trimPath(path))
	if err != nil {
		return "", invalidRequest("an ack names no stream")
	}
	path = pathOf(stream.space, stream.segment)
	if !s.linked(path) {
		return "", invalidRequest("an ack is for a stream that is not one of the subscription's")
	}
	at, err := parseOffset(text)
	if err != nil {
		return "", errInvalid
	}
	status, err := c.root.store.Status(ctx, stream.space, stream.segment)
	if err != nil {
		return "", err
	}
	had := s.links[path]
	if at.start() {
		at.life = lifeOf(&status)
	}
	proven, err := stream.proven(ctx, at, &status)
	if err != nil {
		return "", err
	}
	back := had != nil && had.Acked.life == at.life && at.sequence < had.Acked.sequence
	if back { // unless that was lost
		if back, err = stream.holds(ctx, had, &status); err != nil {
			return "", err
		}
	}
	if !proven || back {
		return "", errInvalid
	}
	acked[path] = &link{Acked: at, Lineage: status.Position.Lineage, Explicit: had != nil && had.Explicit}
	return path, nil
}
