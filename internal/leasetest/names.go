package leasetest

import (
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

func names(f *fixture) {
	hostile := []string{
		"a", "A", "a:l", "a:f", "a}", "{a}", "{", "}", "}{", "a.b", "a*", "*", "?", "[a]", "\x00", "a\x00", "\x00a",
		" ", "a b", "a\nb", "\r\n", "%", "%61", "a%", "%00", "..", "../a", "ä", "a\u0308", "\xff\xfe", "'", "\"", "\\",
		strings.Repeat("x", streamhub.MaxNameLength), strings.Repeat("}", streamhub.MaxNameLength),
		strings.Repeat("\x00", streamhub.MaxNameLength),
	}
	seen := make(map[string]string)
	tokens := make(map[string]uint64)
	for _, name := range hostile {
		if other, ok := seen[name]; ok {
			f.Fatalf("%q is there twice: %q", name, other)
		}
		seen[name] = name
		// The name is key and holder: each key is free still, and each holder comes back whole.
		token, err := f.AcquireAs(f.ctx, f.store, name, name, long)
		if err != nil {
			f.Fatalf("acquire %q: %v", name, err)
		}
		tokens[name] = token
	}
	for _, name := range hostile {
		held, err := f.Peek(f.ctx, f.store, name)
		if err != nil || held.Holder != name || held.Token != tokens[name] {
			f.Errorf("%q is held by %q with %d (%v), want itself with %d", name, held.Holder, held.Token, err, tokens[name])
		}
		if token, err := f.RenewAs(f.ctx, f.store, name, name, long); err != nil || token != tokens[name] {
			f.Errorf("renew %q: %d, %v", name, token, err)
		}
	}
	for _, name := range hostile {
		released, err := f.ReleaseAs(f.ctx, f.store, name, name)
		f.wasReleased(released, err, true)
	}

	for _, name := range []string{"", strings.Repeat("x", streamhub.MaxNameLength+1)} {
		for _, pair := range [][2]string{{name, "a"}, {key, name}} {
			k, holder := pair[0], pair[1]
			_, err := f.AcquireAs(f.ctx, f.store, k, holder, long)
			f.wants(err, streamhub.ErrInvalidName)
			_, err = f.RenewAs(f.ctx, f.store, k, holder, long)
			f.wants(err, streamhub.ErrInvalidName)
			_, err = f.ReleaseAs(f.ctx, f.store, k, holder)
			f.wants(err, streamhub.ErrInvalidName)
		}
		_, err := f.Peek(f.ctx, f.store, name)
		f.wants(err, streamhub.ErrInvalidName)
		_, err = f.Acquire(f.ctx, f.store, name, long)
		f.wants(err, streamhub.ErrInvalidName)
	}
}

func storesDoNotMeet(f *fixture) {
	others := []uuid.UUID{uuid.Nil, uuid.Max, uuid.New()}
	token := f.acquire("a", long)
	for _, other := range others {
		if _, err := f.Peek(f.ctx, other, key); !errors.Is(err, streamhub.ErrNotFound) {
			f.Fatalf("the lease is seen in %v: %v", other, err)
		}
		if _, err := f.AcquireAs(f.ctx, other, key, "b", long); err != nil {
			f.Errorf("acquire in %v: %v", other, err)
		}
		if _, err := f.RenewAs(f.ctx, other, key, "a", long); !errors.Is(err, streamhub.ErrLeaseLost) {
			f.Errorf("renew in %v: %v", other, err)
		}
		for holder, had := range map[string]bool{"a": false, "b": true} {
			released, err := f.ReleaseAs(f.ctx, other, key, holder)
			f.wasReleased(released, err, had)
		}
	}
	f.holds("a", token)
}

func peek(f *fixture) {
	_, err := f.Peek(f.ctx, f.store, key)
	f.wants(err, streamhub.ErrNotFound)
	token := f.acquire("a", 10*time.Second)
	held, err := f.Peek(f.ctx, f.store, key)
	if err != nil || held.Holder != "a" || held.Token != token || held.Left <= 0 || held.Left > 10*time.Second {
		f.Errorf("peek: %+v, %v", held, err)
	}
	f.release("a", true)
	_, err = f.Peek(f.ctx, f.store, key)
	f.wants(err, streamhub.ErrNotFound)
}
