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

// wakeStreams is how many streams one wake is about at most; what is left makes the next one.
const wakeStreams = 256

// rise begins a wake for what is pending. A stream that matches the pattern gets its link with the first wake that
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

// deliver repeats the delivery of a wake that was begun before, by this gateway or by another one.
func (w *waker) deliver(s *watch) {
	if s.Config.Type == pullKind {
		w.appendWake(s)
	} else if !s.calling {
		w.call(s, nil)
	}
}

// appendWake appends the wake to the wake stream. The producer is named after the subscription and its
// epoch is the generation, so a gateway that takes over makes the same append, which is stored once.
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

// failed saves that a delivery failed, and gives the wake back. The next delivery comes after a delay
// that grows with the failures.
func (w *waker) failed(s *watch, err error) {
	w.handler.opt.Logger.Info("a wake was not delivered", "subscription", s.id, "failures", s.Failures+1, "error", err)
	s.Held, s.Holder = false, ""
	s.Failures++
	s.Failure, s.FailedAt = shorten(told(err)), time.Now().UnixMilli()
	if w.save(s, nil) {
		s.due = time.Now().Add(retryAfter(s.Failures))
	}
}

// told is what the owner of a subscription reads of a failure. It tells nothing of the network of the gateway: neither
// which private names exist, nor their addresses, nor that of the resolver or of Redis.
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

// maxFailure bounds what is kept of an error.
const maxFailure = 300

// shorten cuts a text of an error to what is kept, at the begin of a code point.
func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxFailure)], "")
}

// call sends the webhook of a wake. Its receiver holds the wake from now on, because it may answer
// before the call has ended. The goroutine gets a copy of the state: the waker may change its own meanwhile, and
// called compares the two.
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

// post waits for a free place among the calls of the store and calls the webhook. streams are the ends of the
// streams as the request named them: with done the receiver has handled everything up to them.
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
	// The wake has ended meanwhile, by a callback of the receiver or by its lease. The next one may begin now.
	case s.Wake != wake.Wake:
		w.act(s)
	case err != nil:
		w.failed(s, err)
	case done:
		links := map[string]*link{}
		for _, item := range streams {
			had := s.links[item.Path]
			links[item.Path] = &link{Acked: item.Tail, Lineage: item.tip.lineage, Explicit: had != nil && had.Explicit}
			// It stays pending if the stream has grown since the receiver was told its tail.
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
