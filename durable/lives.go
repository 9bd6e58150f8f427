package durable

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A streamKey names a segment in maps.
type streamKey struct {
	store          uuid.UUID
	space, segment string
}

func (s *stream) key() streamKey { return streamKey{s.store.ID(), s.space, s.segment} }

// A life holds the properties of a stream that never change from its creation to its deletion.
type life struct {
	incarnation uint64
	number      uint64 // see lifeOf
	media       string // "" if its creator gave it no type: it accepts any
	ttl         bool
}

// lives caches the properties of streams that appends need. They may be out of date: the stream may have another
// incarnation by now. A request that names the incarnation notices that.
type lives struct {
	mu    sync.Mutex
	known map[streamKey]life
}

// maxLives bounds the cache, which is cleared when it is full.
const maxLives = 1 << 15

func (l *lives) get(key streamKey) (life, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.known[key]
	return v, ok
}

func (l *lives) put(key streamKey, status *streamhub.Status) life {
	v := life{status.Position.Incarnation, lifeOf(status), mediaType(status.ContentType), status.TTL > 0}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil || len(l.known) >= maxLives {
		l.known = make(map[streamKey]life)
	}
	l.known[key] = v
	return v
}

// learn returns the life of a stream with this incarnation, 0 for the current one.
func (l *lives) learn(ctx context.Context, s *stream, incarnation uint64) (life, error) {
	if v, ok := l.get(s.key()); ok && v.incarnation == incarnation {
		return v, nil
	}
	status, err := s.store.Status(ctx, s.space, s.segment)
	if err != nil {
		return life{}, err
	}
	return l.put(s.key(), &status), nil
}
