package livestream

import (
	"context"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// Await implements [live.Streams].
func (s *Streams) Await(ctx context.Context, id string) (live.Stream, error) {
	for {
		stream, err := s.Get(ctx, id)
		if !errors.Is(err, streamhub.ErrNotFound) {
			return stream, err
		}
		begun, leave, ok := s.m.queue(s, id)
		if !ok {
			return nil, s.fail("await", id, streamhub.ErrShutdown)
		}
		select {
		// err is still ErrNotFound, so the loop looks again. If the stream is already gone, it waits again.
		case <-begun:
		case <-s.m.ctx.Done():
			err = s.fail("await", id, streamhub.ErrShutdown)
		case <-ctx.Done():
			err = ctx.Err()
		}
		leave()
		if !errors.Is(err, streamhub.ErrNotFound) {
			return nil, err
		}
	}
}

const (
	// lobbyEvery is how often a lobby with few ids looks for them.
	lobbyEvery = 200 * time.Millisecond
	// lobbyPause is the shortest pause per id, so a lobby with many ids makes at most 1,000 look-ups a second.
	lobbyPause = time.Millisecond
	// lobbyPage bounds the commands of one pipeline.
	lobbyPage = 256
)

// A lobby has the callers that wait for unregistered streams of one space. One goroutine looks for all of these
// streams, as long as any caller waits.
type lobby struct {
	*Streams
	waiting map[string]*arrival // by id, guarded by Manager.mu
}

// An arrival is a stream that callers wait for.
type arrival struct {
	begun   chan struct{} // closed when the stream has been registered
	callers int
}

// queue adds a caller, which must call leave afterwards. Any number of callers that wait for one id cost one look-up.
func (m *Manager) queue(s *Streams, id string) (begun <-chan struct{}, leave func(), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lobbies[s.spaceKey]
	if l == nil {
		l = &lobby{Streams: s, waiting: map[string]*arrival{}}
		if !m.tasks.Go(l.run) {
			return nil, nil, false
		}
		m.lobbies[s.spaceKey] = l
	}
	a := l.waiting[id]
	if a == nil {
		a = &arrival{begun: make(chan struct{})}
		l.waiting[id] = a
	}
	a.callers++
	return a.begun, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		// The id may have a newer arrival, if this one was already closed and other callers wait for the id again.
		if a.callers--; a.callers == 0 && l.waiting[id] == a {
			delete(l.waiting, id)
		}
	}, true
}

// run looks for the streams until no caller waits any more.
func (l *lobby) run() {
	for every := lobbyEvery; pause.For(l.m.ctx, every); {
		l.m.mu.Lock()
		ids := make([]string, 0, len(l.waiting))
		for id := range l.waiting {
			ids = append(ids, id)
		}
		// Under the same lock as queue: a caller that comes later finds no lobby and starts one.
		if len(ids) == 0 {
			delete(l.m.lobbies, l.spaceKey)
			l.m.mu.Unlock()
			return
		}
		l.m.mu.Unlock()
		every = max(lobbyEvery, time.Duration(len(ids))*lobbyPause)
		for ; len(ids) > 0; ids = ids[min(len(ids), lobbyPage):] {
			l.look(ids[:min(len(ids), lobbyPage)])
		}
	}
}

// look wakes the callers whose stream has been registered. It reads only the field of the generation, which the
// registration writes first: a woken caller may still have to wait for the segment.
//
// If Redis does not answer, it is asked again later. After a permanent error all callers are woken, and get the error
// themselves.
func (l *lobby) look(ids []string) {
	pipe := l.m.conn.Pipeline()
	begun := make([]func() []any, len(ids))
	for i, id := range ids {
		begun[i] = pipe.HMGet(l.m.ctx, l.session(id), "g").Val
	}
	if _, err := pipe.Exec(l.m.ctx); err != nil {
		l.m.opt.Logger.Debug("live streams that are waited for cannot be looked up", "space", l.space, "error", err)
		if streamhub.Retryable(redisx.ReadOutcome(err)) || l.m.ctx.Err() != nil {
			return
		}
		begun = nil
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	for i, id := range ids {
		if a := l.waiting[id]; a != nil && (begun == nil || begun[i]()[0] != nil) {
			close(a.begun)
			delete(l.waiting, id)
		}
	}
}
