package durable

import (
	"errors"
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
)

// longPoll answers with stored entries, or with those that arrive within the time of a long-poll.
func (q *reading) longPoll(w http.ResponseWriter, r *http.Request) error {
	p, status, err := q.first(r)
	if err != nil {
		return err
	}
	if p.empty() && status.State != streamhub.StateClosed {
		if p, status, err = q.await(r, status); err != nil {
			return err
		}
	}
	h := w.Header()
	q.describe(h, p, &status)
	if h.Get(headerClosed) == "" {
		h.Set(headerCursor, nextCursor(q.cursor, time.Now()))
	}
	if p.empty() {
		h.Del("Content-Type")
		// A cache would return this empty answer to clients for which there is data by then.
		h.Set("Cache-Control", cacheNothing)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h.Set("Cache-Control", q.handler.cacheable(cacheLive))
	setNumber(h, "Content-Length", uint64(len(p.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(p.body)
	return nil
}

// await waits for entries after the end of a stream, for its close, or until the time has passed. It returns one page;
// the client sends another request for more.
func (q *reading) await(r *http.Request, status streamhub.Status) (*page, streamhub.Status, error) {
	d, s := q.handler, q.stream
	ctx, done, err := d.wait(r.Context(), q.patience(&status))
	if err != nil {
		return nil, status, err
	}
	defer done()
	p := pageAt(&status, tailOf(&status))
	for news, err := range port.Of(s.store).FollowSegment(ctx, s.space, s.segment, &streamhub.FollowOptions{Cursor: status.Cursor()}, nil) {
		switch {
		case err == nil:
			p.body = body(news, isJSON(status.ContentType))
			p.end = endOf(news, p.end.life)
		case errors.Is(err, streamhub.ErrClosed), ctx.Err() != nil && r.Context().Err() == nil:
		default:
			return nil, status, err
		}
		break
	}
	// The answer has the current state of the stream. If the stream is longer than the page, the client asks again.
	current, err := s.store.Status(r.Context(), s.space, s.segment)
	switch {
	case err != nil:
		return nil, current, err
	case p.empty() && current.Position != status.Position:
		// The stream has grown after the last check, or was replaced: a read tells which.
		return d.fetch(r.Context(), s, p.end)
	case current.Position.Incarnation != p.incarnation, current.LastSequence < p.end.sequence,
		current.LastSequence == p.end.sequence && tailOf(&current) != p.end:
		return nil, current, errLost
	}
	return p, current, nil
}

// patience returns how long to wait: the time of a long-poll, or less if the stream has a fixed deadline. A sliding
// deadline may be renewed meanwhile, so it does not count.
func (q *reading) patience(status *streamhub.Status) time.Duration {
	limit := q.handler.opt.LongPollTimeout
	if status.TTL == 0 && !status.ExpiresAt.IsZero() {
		// One millisecond more, so that the stream has expired when the wait ends.
		limit = min(limit, max(time.Until(status.ExpiresAt)+time.Millisecond, 0))
	}
	return limit
}
