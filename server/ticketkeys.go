package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

const (
	ticketSpace   = "keys"
	ticketSegment = "tickets"
	ticketKeySize = 32
	ticketKeyMade = "made" // metadata of the entry that holds a key: when it was made, in Unix milliseconds
	// ticketKeyAge is the age at which a key is replaced. The old key continues to sign until the new one is
	// ticketKeyRest old, so that every gateway has loaded the new key by then.
	ticketKeyAge  = 24 * time.Hour
	ticketKeyRest = time.Minute
	// ticketKeysKept is how many keys are kept: the one that signs, its predecessor, and one in reserve.
	ticketKeysKept = 3
	// ticketKeysFresh is how long loaded keys are used to sign before they are read from Redis again.
	ticketKeysFresh = 30 * time.Second
	// ticketKeysPause is the shortest interval between two reads of Redis for an unknown key id: any client can send
	// one.
	ticketKeysPause = time.Second
	// ticketKeysWait is the time that a request may wait for keys.
	ticketKeysWait = 2 * time.Second
)

// redisKeys keeps the ticket keys in the internal store of the gateways, to which no scope gives access. All gateways
// of a Redis share them. It is safe for concurrent use.
type redisKeys struct {
	hub *hub.Hub
	now func() time.Time

	loading chan struct{} // a semaphore of one for load; acquired before mu

	mu     sync.Mutex
	keys   []ticketKey // from the oldest to the newest
	loaded time.Time
}

type ticketKey struct {
	id   string
	key  []byte
	made time.Time
}

func newTicketKey(key []byte, made time.Time) ticketKey {
	sum := sha256.Sum256(append([]byte("streamhub ticket key id\x00"), key...))
	return ticketKey{hex.EncodeToString(sum[:8]), key, made}
}

func newRedisKeys(h *hub.Hub) *redisKeys {
	return &redisKeys{hub: h, now: time.Now, loading: make(chan struct{}, 1)}
}

// Current returns the key that signs. The first gateway that needs a key makes it, and the first that finds it too old
// makes the next one.
func (k *redisKeys) Current(ctx context.Context) (id string, key []byte, err error) {
	k.mu.Lock()
	keys, loaded := k.keys, k.loaded
	k.mu.Unlock()
	if now := k.now(); len(keys) == 0 || now.Sub(loaded) > ticketKeysFresh {
		if keys, err = k.load(ctx, loaded, true); err != nil && len(keys) == 0 {
			return "", nil, err
		}
	}
	at := len(keys) - 1
	for at > 0 && k.now().Sub(keys[at].made) < ticketKeyRest {
		at--
	}
	return keys[at].id, keys[at].key, nil
}

// Find returns a key by its id.
func (k *redisKeys) Find(ctx context.Context, id string) ([]byte, error) {
	k.mu.Lock()
	keys, loaded := k.keys, k.loaded
	k.mu.Unlock()
	if key := find(keys, id); key != nil {
		return key, nil
	}
	if k.now().Sub(loaded) < ticketKeysPause {
		return nil, nil
	}
	keys, err := k.load(ctx, loaded, false)
	if err != nil {
		return nil, err
	}
	return find(keys, id), nil
}

func find(keys []ticketKey, id string) []byte {
	for i := range keys {
		if keys[i].id == id {
			return keys[i].key
		}
	}
	return nil
}

// load reads the keys, unless another caller has read them since seen. With sign it also makes sure that one of them
// may sign. After an error it returns the keys that are known.
func (k *redisKeys) load(ctx context.Context, seen time.Time, sign bool) ([]ticketKey, error) {
	ctx, cancel := context.WithTimeout(ctx, ticketKeysWait)
	defer cancel()
	select {
	case k.loading <- struct{}{}:
		defer func() { <-k.loading }()
	case <-ctx.Done():
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.keys, fmt.Errorf("%w: the keys of tickets: %w", streamhub.ErrUnavailable, ctx.Err())
	}
	k.mu.Lock()
	keys, loaded := k.keys, k.loaded
	k.mu.Unlock()
	if loaded.After(seen) && (!sign || len(keys) > 0) {
		return keys, nil
	}
	// Unknown key ids cost at most one read per second, even if that read fails.
	at := k.now()
	fresh, last, err := k.read(ctx)
	if err == nil && sign && (len(fresh) == 0 || at.Sub(fresh[len(fresh)-1].made) > ticketKeyAge) {
		fresh, err = k.roll(ctx, last+1)
	}
	if err == nil {
		keys = fresh
	} else if streamhub.CodeOf(err) == streamhub.CodeOf(context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: the keys of tickets: %w", streamhub.ErrUnavailable, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.loaded = keys, at
	return keys, err
}

// read returns the keys that Redis has, and the sequence of the last one. It starts over if another gateway removes old
// keys meanwhile.
func (k *redisKeys) read(ctx context.Context) (keys []ticketKey, last uint64, err error) {
	for {
		if keys, last, err = k.readOnce(ctx); !errors.Is(err, streamhub.ErrTrimmed) {
			return keys, last, err
		}
	}
}

func (k *redisKeys) readOnce(ctx context.Context) (keys []ticketKey, last uint64, err error) {
	for e, err := range k.hub.Store(auth.Internal).ConsumeSegment(ctx, ticketSpace, ticketSegment, nil) {
		if errors.Is(err, streamhub.ErrNotFound) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		made, failed := strconv.ParseInt(e.Metadata[ticketKeyMade], 10, 64)
		if failed != nil || len(e.Payload) != ticketKeySize {
			return nil, 0, fmt.Errorf("%w: a key of tickets has %d bytes, want %d", streamhub.ErrCorrupt, len(e.Payload), ticketKeySize)
		}
		keys, last = append(keys, newTicketKey(e.Payload, time.UnixMilli(made))), e.Sequence
	}
	return keys[max(0, len(keys)-ticketKeysKept):], last, nil
}

// roll appends a new key as entry next, unless another gateway has done so, and returns all keys. Old ones are removed.
func (k *redisKeys) roll(ctx context.Context, next uint64) ([]ticketKey, error) {
	store := k.hub.Store(auth.Internal)
	key := make([]byte, ticketKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	record := streamhub.Record{Payload: key, Metadata: map[string]string{ticketKeyMade: strconv.FormatInt(k.now().UnixMilli(), 10)}}
	_, err := store.Append(ctx, ticketSpace, ticketSegment, []streamhub.Record{record}, &streamhub.AppendOptions{ExpectedSequence: next})
	switch {
	case err == nil, errors.Is(err, streamhub.ErrNotConfirmed):
		if next > ticketKeysKept {
			_, err = store.Trim(ctx, ticketSpace, ticketSegment, next-ticketKeysKept)
		} else {
			err = nil
		}
	case errors.Is(err, streamhub.ErrSequenceMismatch):
		err = nil // another gateway was faster
	}
	if err != nil {
		return nil, err
	}
	keys, _, err := k.read(ctx)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%w: the keys of tickets", streamhub.ErrHistoryLost)
	}
	return keys, err
}

// fixedKey is the ticket key that the operator has configured.
type fixedKey struct{ ticketKey }

func (k fixedKey) Current(context.Context) (id string, key []byte, err error) {
	return k.id, k.key, nil
}

func (k fixedKey) Find(_ context.Context, id string) ([]byte, error) {
	return find([]ticketKey{k.ticketKey}, id), nil
}

// ticketKeys returns the keys that sign tickets, or nil if the server requires no token.
func (s *Server) ticketKeys() (auth.TicketKeys, error) {
	switch key := s.opt.TicketKey; {
	case len(key) > 0 && len(key) < ticketKeySize:
		return nil, fmt.Errorf("the key of tickets has %d bytes; %d are the least that is safe", len(key), ticketKeySize)
	case s.opt.Auth == nil:
		return nil, nil
	case len(key) > 0:
		return fixedKey{newTicketKey(key, time.Time{})}, nil
	}
	return newRedisKeys(s.hub), nil
}
