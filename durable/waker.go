package durable

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// wakes has the subscriptions of every store looked after: by one of the gateways, which holds a
// lease on the store.
type wakes struct {
	handler *Handler
	signers signers
	look    chan struct{}
	tasks   sync.WaitGroup
}

const (
	// lookEvery is how often stores with subscriptions are looked for, and spaces where a pattern is
	// for all of them.
	lookEvery = 5 * time.Second
	// wakerLease is how long the subscriptions of a store may rest after their gateway has died.
	wakerLease = 5 * time.Second
	// again is the delay before an operation that Redis refused is retried.
	again = time.Second
)

func newWakes(d *Handler) *wakes {
	w := &wakes{
		handler: d, look: make(chan struct{}, 1),
	}
	w.tasks.Go(w.supervise)
	return w
}

// nudge has subscriptions looked for now.
func (w *wakes) nudge() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

func (w *wakes) wait() { w.tasks.Wait() }

// supervise starts a goroutine for each store that has subscriptions.
func (w *wakes) supervise() {
	ctx := w.handler.readers.Context()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	watched := map[string]struct{}{}
	for {
		for space, err := range w.handler.hub.Store(registerStore).Spaces(ctx) {
			if err != nil {
				break // the next look will tell
			}
			id, err := uuid.Parse(space)
			if _, ok := watched[space]; ok || err != nil {
				continue
			}
			watched[space] = struct{}{}
			w.tasks.Go(func() { w.keep(ctx, id) })
		}
		select {
		case <-tick.C:
		case <-w.look:
		case <-ctx.Done():
			return
		}
	}
}

// keep serves a store whenever no other gateway does.
func (w *wakes) keep(ctx context.Context, store uuid.UUID) {
	r := w.handler.register(store)
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		err := r.log.WithLease(ctx, "durable/"+r.space, wakerLease, 0, func(ctx context.Context, _ uint64) error {
			newWaker(w, r, w.handler.hub.Store(store)).run(ctx)
			return nil
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, streamhub.ErrLeaseNotAcquired) {
			w.handler.opt.Logger.Debug("subscriptions are not looked after", "store", store, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// A waker serves the subscriptions of one store. Everything happens in its goroutine; others
// bring it what they saw. How long a lease or a delay lasts is counted from when it was seen to
// begin, so no clock is compared with another.
type waker struct {
	*wakes
	register register
	store    *hub.Store
	ctx      context.Context
	events   chan func()
	tasks    sync.WaitGroup
	// client and calls, one place for each webhook under way, are of this store alone: receivers of
	// another one that do not answer delay no other here.
	client *http.Client
	calls  chan struct{}

	subscriptions map[string]*watch
	tails         map[string]tip      // by path, of every stream in spaces
	spaces        map[string]struct{} // that are watched
}

// A watch is a subscription that is looked after.
type watch struct {
	id string
	*subscription
	pending map[string]struct{} // paths
	dropped map[string]uint64   // paths of streams that were deleted, with the life that ended: their links go with the next step
	seen    uint64              // the step that due was counted from
	due     time.Time           // when something is to be done though nothing comes; zero for never
	stale   bool                // to be loaded anew
	calling bool                // a webhook is under way
	told    uint64              // the generation that the wake stream has
}

func newWaker(w *wakes, r register, store *hub.Store) *waker {
	return &waker{
		wakes: w, register: r, store: store, events: make(chan func()),
		client: newCaller(w.handler.opt.LoopbackWebhooks), calls: make(chan struct{}, maxWebhooks),
		subscriptions: map[string]*watch{}, tails: map[string]tip{}, spaces: map[string]struct{}{},
	}
}

// run ends with ctx.
func (w *waker) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.client.CloseIdleConnections()
	defer w.tasks.Wait()
	defer cancel()
	w.ctx = ctx
	w.tasks.Go(func() {
		w.follow(w.register.log, w.register.space, func(s *streamhub.Status) { w.changed(s.Segment) })
	})
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(w.untilDue(time.Now()))
		select {
		case event := <-w.events:
			event()
		case at := <-timer.C:
			w.expire(at)
		case <-tick.C:
			w.watchSpaces()
			for _, s := range w.subscriptions {
				w.drop(s, 1)
			}
		case <-ctx.Done():
			return
		}
	}
}

// do has the waker's goroutine call event.
func (w *waker) do(event func()) bool {
	select {
	case w.events <- event:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// follow brings the statuses of a space.
func (w *waker) follow(store *hub.Store, space string, event func(*streamhub.Status)) {
	for w.ctx.Err() == nil {
		for status, err := range store.SubscribeSpace(w.ctx, space) {
			if err != nil || !w.do(func() { event(&status) }) {
				break
			}
		}
		select {
		case <-time.After(again):
		case <-w.ctx.Done():
		}
	}
}

// changed loads what is new of a subscription.
func (w *waker) changed(id string) {
	s := w.subscriptions[id]
	if s == nil {
		s = &watch{id: id, subscription: &subscription{}, stale: true}
		w.subscriptions[id] = s
	}
	if s.stale {
		s.subscription = &subscription{links: map[string]*link{}}
	}
	if err := w.register.update(w.ctx, id, s.subscription); err != nil {
		s.stale, s.due = true, time.Now().Add(again)
		return
	}
	s.stale = false
	s.gone = w.gone
	if s.sequence == 0 || s.Deleted {
		delete(w.subscriptions, id)
		return
	}
	w.watchSpaces()
	s.pending = map[string]struct{}{}
	for path, tail := range w.tails {
		if s.linked(path) && s.links[path].pending(tail) {
			s.pending[path] = struct{}{}
		}
	}
	w.act(s)
}

// watchSpaces follows the spaces in which streams of a subscription can be.
func (w *waker) watchSpaces() {
	wanted, all := map[string]struct{}{}, false
	for _, s := range w.subscriptions {
		names, every := s.Config.spaces()
		all = all || every
		for _, name := range names {
			wanted[name] = struct{}{}
		}
		for path, l := range s.links {
			if l.Explicit {
				if stream, err := (&root{}).stream(path); err == nil {
					wanted[stream.space] = struct{}{}
				}
			}
		}
	}
	if all {
		for space, err := range w.store.Spaces(w.ctx) {
			if err != nil {
				break // the next look will tell
			}
			wanted[space] = struct{}{}
		}
	}
	for space := range wanted {
		if _, ok := w.spaces[space]; !ok {
			w.spaces[space] = struct{}{}
			w.tasks.Go(func() { w.follow(w.store, space, w.grown) })
		}
	}
}

// grown takes the status of a stream.
func (w *waker) grown(status *streamhub.Status) {
	path, tail := pathOf(status.Space, status.Segment), tipOf(status)
	if status.State == streamhub.StateDeleted {
		delete(w.tails, path)
		tail = tip{}
	} else {
		w.tails[path] = tail
	}
	for _, s := range w.subscriptions {
		if s.stale || !s.linked(path) {
			continue
		}
		if l := s.links[path]; l != nil && !l.Explicit && status.State == streamhub.StateDeleted {
			if s.dropped == nil {
				s.dropped = map[string]uint64{}
			}
			s.dropped[path] = l.Acked.life
			delete(s.pending, path)
			w.drop(s, wakeStreams)
			continue
		}
		if s.links[path].pending(tail) {
			s.pending[path] = struct{}{}
			w.act(s)
		} else {
			delete(s.pending, path)
		}
	}
}

// drop removes the links of deleted streams if there are at least so many of them.
func (w *waker) drop(s *watch, least int) {
	if !s.stale && len(s.dropped) >= least {
		w.save(s, nil)
	}
}

// gone reports whether a stream is deleted.
func (w *waker) gone(path string) bool {
	if _, there := w.tails[path]; there {
		return false
	}
	stream, err := (&root{}).stream(path)
	if err == nil {
		_, err = w.store.Status(w.ctx, stream.space, stream.segment)
	}
	return errors.Is(err, streamhub.ErrNotFound)
}

// act does what the state of a subscription asks for.
func (w *waker) act(s *watch) {
	now := time.Now()
	switch {
	case s.Wake == "" && len(s.pending) > 0 && !s.calling:
		w.rise(s)
		return
	case s.Wake == "":
		s.due = time.Time{}
	case s.Held && s.seen != s.sequence:
		s.due = now.Add(s.Config.lease())
	case !s.Held && s.Failures > 0 && s.seen != s.sequence:
		s.due = now.Add(retryAfter(s.Failures))
	case !s.Held && s.Failures == 0 && s.told != s.Generation:
		w.deliver(s) // another gateway had begun
	}
	s.seen = s.sequence
}

// rise begins a wake for what is pending.
func (w *waker) rise(s *watch) {
	paths := slices.Sorted(maps.Keys(s.pending))
	s.rise(paths[:min(len(paths), wakeStreams)])
	links := map[string]*link{}
	for _, path := range s.Streams {
		if s.links[path] == nil {
			links[path] = &link{}
		}
	}
	if s.Config.Type == pullKind {
		if w.save(s, links) {
			w.tell(s)
		}
		return
	}
	w.call(s, links)
}

// deliver tries again what was begun before.
func (w *waker) deliver(s *watch) {
	if s.Config.Type == pullKind {
		w.tell(s)
	} else if !s.calling {
		w.call(s, nil)
	}
}

// save makes a step. Where another one came first, the subscription is loaded anew.
func (w *waker) save(s *watch, links map[string]*link) bool {
	changed := maps.Clone(links)
	for path, life := range s.dropped {
		l := s.links[path]
		if _, ok := changed[path]; ok || l == nil || l.Explicit || l.Acked.life != life {
			continue // there is another stream by now
		}
		if changed == nil {
			changed = map[string]*link{}
		}
		changed[path] = nil
	}
	err := w.register.save(w.ctx, s.id, s.subscription, changed)
	if err == nil {
		s.dropped = nil
		s.seen = s.sequence
		return true
	}
	s.stale, s.due = true, time.Now()
	if !errors.Is(err, errMoved) {
		s.due = s.due.Add(again)
	}
	return false
}

// untilDue is how long nothing is due.
func (w *waker) untilDue(now time.Time) time.Duration {
	left := time.Hour
	for _, s := range w.subscriptions {
		if !s.due.IsZero() {
			left = min(left, s.due.Sub(now))
		}
	}
	return max(left, 0)
}

// expire does what is due.
func (w *waker) expire(now time.Time) {
	for _, s := range w.subscriptions {
		if s.due.IsZero() || s.due.After(now) {
			continue
		}
		s.due = time.Time{}
		switch {
		case s.stale:
			w.changed(s.id)
		case s.Held && !s.calling: // the lease is over
			s.idle()
			if w.save(s, nil) {
				w.act(s)
			}
		case !s.Held && s.Wake != "":
			w.deliver(s)
		}
	}
}

// tell appends the wake to the wake stream. A gateway that takes over may do so again: it is the
// same append.
func (w *waker) tell(s *watch) {
	event, err := json.Marshal(map[string]any{
		"type": "wake", "subscription_id": s.id, "wake_id": s.Wake, "generation": s.Generation, "streams": s.Streams,
	})
	stream, pathErr := (&root{}).stream(s.Config.WakeStream)
	if err = errors.Join(err, pathErr); err == nil {
		name := sha256.Sum256([]byte(w.register.space + "/" + s.id))
		_, err = w.store.Append(w.ctx, stream.space, stream.segment, []streamhub.Record{{Payload: event}}, &streamhub.AppendOptions{
			MustExist: true, ContentType: contentsJSON,
			Producer: &streamhub.Producer{ID: reserved + "/" + text64(name[:16]), Epoch: s.Generation},
		})
	}
	if err == nil || errors.Is(err, streamhub.ErrNotConfirmed) {
		s.told = s.Generation
		return
	}
	w.failed(s, err)
}

// failed saves that a delivery failed; act says when the next one is.
func (w *waker) failed(s *watch, err error) {
	w.handler.opt.Logger.Info("a wake was not delivered", "subscription", s.id, "failures", s.Failures+1, "error", err)
	s.Held, s.Holder = false, ""
	s.Failures++
	s.Failure, s.FailedAt = shorten(err.Error()), time.Now().UnixMilli()
	if w.save(s, nil) {
		s.due = time.Now().Add(retryAfter(s.Failures))
	}
}

// maxFailure bounds what is kept of an error.
const maxFailure = 300

// shorten cuts a text of an error to what is kept, at the begin of a code point.
func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxFailure)], "")
}

// call sends the webhook of a wake. Its receiver holds the wake from now on, because it may answer
// before the call has ended.
func (w *waker) call(s *watch, links map[string]*link) {
	s.hold(webhookKind)
	if !w.save(s, links) {
		return
	}
	s.due, s.calling = time.Time{}, true
	wake := *s.subscription
	wake.links = map[string]*link{}
	for _, path := range s.Streams {
		if l := s.links[path]; l != nil {
			wake.links[path] = l
		}
	}
	id := s.id
	w.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, min(webhookTime, wake.Config.lease()))
		defer cancel()
		streams, done, err := w.post(ctx, id, &wake)
		w.do(func() { w.called(id, &wake, streams, done, err) })
	})
}

func (w *waker) post(ctx context.Context, id string, s *subscription) (streams []wakeStream, done bool, err error) {
	select {
	case w.calls <- struct{}{}:
		defer func() { <-w.calls }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	g, err := w.handler.signer(ctx)
	if err != nil {
		return nil, false, err
	}
	if streams, err = (&root{store: w.store}).look(ctx, s, s.Streams); err != nil {
		return nil, false, err
	}
	body, err := json.Marshal(map[string]any{
		"subscription_id": id, "wake_id": s.Wake, "generation": s.Generation, "streams": streams,
		"callback_url":   strings.Join([]string{s.Root + reserved, "subscriptions", escapeElement(id), "callback"}, "/"),
		"callback_token": g.token(w.register, id, s.Generation, s.Wake),
	})
	if err != nil {
		return nil, false, err
	}
	done, err = call(ctx, w.client, g, s.Config.Webhook.URL, body)
	return streams, done, err
}

// called takes what a webhook's receiver answered, unless the wake is over by now.
func (w *waker) called(id string, wake *subscription, streams []wakeStream, done bool, err error) {
	s := w.subscriptions[id]
	if s == nil {
		return
	}
	s.calling = false
	switch {
	case s.stale:
		return // it is loaded soon, and its lease says the rest
	case s.Wake != wake.Wake:
		w.act(s)
	case err != nil:
		w.failed(s, err)
	case done:
		links := map[string]*link{}
		for _, item := range streams {
			had := s.links[item.Path]
			links[item.Path] = &link{Acked: item.Tail, Lineage: item.tip.lineage, Explicit: had != nil && had.Explicit}
			if tail, ok := w.tails[item.Path]; ok && !links[item.Path].pending(tail) {
				delete(s.pending, item.Path)
			}
		}
		s.idle()
		if w.save(s, links) {
			w.act(s)
		}
	default: // it will call back
		s.due = time.Now().Add(s.Config.lease())
	}
}
