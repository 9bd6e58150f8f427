package durable

import (
	"errors"
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
)

// longPoll answers with what is there, or with what comes within a time.
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
		// A cached answer without data would be given to clients for which there is some by then.
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

// await waits for what comes after the end of a stream, for its close, or for the time to pass. It
// takes one page; the client comes again for more.
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
	// The answer says how the stream is now; where that is farther than the page, the client comes again.
	current, err := s.store.Status(r.Context(), s.space, s.segment)
	switch {
	case err != nil:
		return nil, current, err
	case p.empty() && current.Position != status.Position:
		// What came after the last look, or instead of what was there: reading tells which.
		return d.fetch(r.Context(), s, p.end)
	case current.Position.Incarnation != p.incarnation, current.LastSequence < p.end.sequence,
		current.LastSequence == p.end.sequence && tailOf(&current) != p.end:
		return nil, current, errLost
	}
	return p, current, nil
}

// patience is how long to wait: the time of a long-poll, or until a fixed deadline of the stream. A sliding one may be
// renewed meanwhile.
func (q *reading) patience(status *streamhub.Status) time.Duration {
	limit := q.handler.opt.LongPollTimeout
	if status.TTL == 0 && !status.ExpiresAt.IsZero() {
		// A millisecond more, so that the stream has expired when the wait ends.
		limit = min(limit, max(time.Until(status.ExpiresAt)+time.Millisecond, 0))
	}
	return limit
}
