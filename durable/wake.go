package durable

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// wakeStreams is how many streams one wake names at most; the next wake names the rest.
const wakeStreams = 256

// rise begins a wake for the pending streams. A stream that matches the pattern gets its link with the first wake that
// names it, so a subscription to many streams costs nothing for those that never change.
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
			w.appendWake(s)
		}
		return
	}
	w.call(s, links)
}

// deliver delivers a wake that has begun, on this gateway or another one.
func (w *waker) deliver(s *watch) {
	if s.Config.Type == pullKind {
		w.appendWake(s)
	} else if !s.calling {
		w.call(s, nil)
	}
}

// appendWake appends the wake to the wake stream. The producer is named after the subscription and its epoch is the
// generation, so a gateway that takes over repeats the same append, which is stored once.
func (w *waker) appendWake(s *watch) {
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

// failed records a failed delivery, and releases the wake. The next delivery comes after a delay that grows with the
// failures.
func (w *waker) failed(s *watch, err error) {
	w.handler.opt.Logger.Info("a wake was not delivered", "subscription", s.id, "failures", s.Failures+1, "error", err)
	s.Held, s.Holder = false, ""
	s.Failures++
	s.Failure, s.FailedAt = shorten(told(err)), time.Now().UnixMilli()
	if w.save(s, nil) {
		s.due = time.Now().Add(retryAfter(s.Failures))
	}
}

// told returns the text of a failure for the owner of a subscription. It reveals nothing about the network of the
// gateway: no private names, and no addresses of hosts, of the resolver or of Redis.
func told(err error) string {
	var lookup *net.DNSError
	switch {
	case errors.Is(err, streamhub.ErrUnavailable), errors.Is(err, streamhub.ErrUnknownOutcome):
		_, text := statusOf(err)
		return text
	case errors.Is(err, errAddress), errors.As(err, &lookup) && lookup.IsNotFound:
		return "the host of webhook.url has no address that is called"
	case lookup != nil:
		return "the host of webhook.url could not be looked up"
	}
	return err.Error()
}

// maxFailure is the length, in bytes, to which the text of a failure is cut.
const maxFailure = 300

// shorten cuts the text of an error to maxFailure bytes, at the beginning of a code point.
func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxFailure)], "")
}

// call sends the webhook of a wake. Its receiver holds the wake from now on, because it may answer before the call has
// ended. The goroutine gets a copy of the state: the waker may change its own copy meanwhile, and called compares the
// two.
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

// post waits for a free place among the webhook calls of the store, and calls the webhook. streams has the ends of the
// streams that the request named. If done is set, the receiver has handled everything up to them.
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

// called handles the answer of a webhook's receiver, unless the wake has ended meanwhile.
func (w *waker) called(id string, wake *subscription, streams []wakeStream, done bool, err error) {
	s := w.subscriptions[id]
	if s == nil {
		return
	}
	s.calling = false
	switch {
	case s.stale:
		return // it will be loaded again, and act follows its lease
	// The wake has ended meanwhile, by a callback of the receiver or because its lease expired. The next wake may begin
	// now.
	case s.Wake != wake.Wake:
		w.act(s)
	case err != nil:
		w.failed(s, err)
	case done:
		links := map[string]*link{}
		for _, item := range streams {
			had := s.links[item.Path]
			links[item.Path] = &link{Acked: item.Tail, Lineage: item.tip.lineage, Explicit: had != nil && had.Explicit}
			// The stream stays pending if it has grown since the request named its end.
			if tail, ok := w.tails[item.Path]; ok && !links[item.Path].pending(tail) {
				delete(s.pending, item.Path)
			}
		}
		s.idle()
		if w.save(s, links) {
			w.act(s)
		}
	default: // the receiver will call back
		s.due = time.Now().Add(s.Config.lease())
	}
}
