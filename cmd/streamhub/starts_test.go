//go:build faults

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A badStart is a state of Redis that waiting cures.
type badStart struct {
	word   string // of /readyz
	reason streamhub.UnavailableReason
	server *testredis.Options
	spoil  func(*testing.T, *testredis.Server)
	cure   func(*testing.T, *testredis.Server)
}

// setting sets one option of the server.
func setting(key, value string) func(*testing.T, *testredis.Server) {
	return func(t *testing.T, s *testredis.Server) {
		t.Helper()
		if err := s.Client().ConfigSet(within(t), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func running(words ...any) func(*testing.T, *testredis.Server) {
	return func(t *testing.T, s *testredis.Server) {
		t.Helper()
		if err := s.Client().Do(within(t), words...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

var badStarts = []badStart{
	{"full", streamhub.ReasonFull, nil, setting("maxmemory", "1"), setting("maxmemory", "0")},
	{"read-only", streamhub.ReasonReadOnly, nil, running("replicaof", "127.0.0.1", "1"), running("replicaof", "no", "one")},
	{"replicas", streamhub.ReasonReplicas, nil, setting("min-replicas-to-write", "1"), setting("min-replicas-to-write", "0")},
	{"away", streamhub.ReasonDown, nil, func(_ *testing.T, s *testredis.Server) { s.Kill() }, func(_ *testing.T, s *testredis.Server) { s.Restart() }},
	// While a server loads it answers once every 1,024 commands.
	{"loading", streamhub.ReasonLoading, &testredis.Options{AOF: "everysec", Config: []string{"enable-debug-command yes", "key-load-delay 100"}},
		loading, setting("key-load-delay", "0")},
}

// loading has the server read its data, which takes long until key-load-delay is 0.
func loading(t *testing.T, s *testredis.Server) {
	t.Helper()
	admin := s.Client()
	_, err := admin.Pipelined(within(t), func(p redis.Pipeliner) error {
		for i := range 100_000 {
			p.Set(t.Context(), fmt.Sprint("key", i), "x", 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	once := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, ReadTimeout: -1})
	var asked sync.WaitGroup
	asked.Go(func() { _ = once.Do(context.WithoutCancel(t.Context()), "debug", "loadaof").Err() })
	t.Cleanup(func() {
		_ = once.Close()
		asked.Wait()
	})
	until(t, "loading", func() bool { return redis.HasErrorPrefix(admin.Get(within(t), "x").Err(), "LOADING") })
}

// TestStarts starts a hub and a gateway at a bad moment. Each gets the documented answer, and after the cure the same
// process works.
func TestStarts(t *testing.T) {
	for _, bad := range badStarts {
		t.Run(bad.word, func(t *testing.T) {
			t.Run("hub", func(t *testing.T) {
				server := testredis.Start(t, bad.server)
				bad.spoil(t, server)
				h := openHub(t, server.URL())
				s := h.Store(uuid.New())
				var unavailable *streamhub.UnavailableError
				for _, err := range []error{h.Ready(within(t)), appendOne(t, s)} {
					if !errors.As(err, &unavailable) || unavailable.Reason != bad.reason || !streamhub.Retryable(err) {
						t.Errorf("%v, want it to be unavailable for the reason %s", err, bad.reason)
					}
				}
				bad.cure(t, server)
				until(t, "readiness", func() bool { return h.Ready(within(t)) == nil })
				if err := appendOne(t, s); err != nil {
					t.Error(err)
				}
			})
			t.Run("serve", func(t *testing.T) {
				server := testredis.Start(t, bad.server)
				bad.spoil(t, server)
				s := serve(t, "--redis", server.URL())
				until(t, bad.word, func() bool {
					code, body := get(t, s.front+"/readyz")
					return code == http.StatusServiceUnavailable && body == bad.word+"\n"
				})
				if code, _ := get(t, s.front+"/healthz"); code != http.StatusOK {
					t.Errorf("healthz %d", code)
				}
				if r := put(t, s.front+"/v1/stream/a"); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
					t.Errorf("%s, Retry-After %q", r.Status, r.Header.Get("Retry-After"))
				}
				bad.cure(t, server)
				s.becomesReady(t)
				if r := put(t, s.front+"/v1/stream/a"); r.StatusCode != http.StatusCreated {
					t.Error(r.Status)
				}
				s.end(syscall.SIGTERM)
			})
		})
	}
}

// TestStartWithoutRight starts as a user without a right. A hub does not wait for that: the answer is the line to run, and after that line
// it works.
func TestStartWithoutRight(t *testing.T) {
	rule := strings.Replace(redisx.UserRule, " +xadd ", " ", 1)
	server := func(t *testing.T) (*testredis.Server, string) {
		s := testredis.Start(t, &testredis.Options{Config: []string{"user hub on >secret " + rule}})
		return s, "redis://hub:secret@" + s.Addr()
	}
	// cure runs the line that text ends with.
	cure := func(t *testing.T, s *testredis.Server, text string) {
		t.Helper()
		_, line, found := strings.Cut(text, "run ACL SETUSER hub ")
		line, _, _ = strings.Cut(line, "\n")
		line = strings.TrimSuffix(line, `"`) // of a line of the log
		if !found || !strings.Contains(line+" ", "+xadd ") {
			t.Fatalf("no cure in %s", text)
		}
		words := []any{"acl", "setuser", "hub"}
		for word := range strings.FieldsSeq(line) {
			words = append(words, word)
		}
		running(words...)(t, s)
	}
	t.Run("hub", func(t *testing.T) {
		s, url := server(t)
		client, err := hub.NewClient(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		_, err = hub.Open(within(t), client, &hub.Options{WaitForRedis: true})
		if !errors.Is(err, streamhub.ErrUnavailable) || streamhub.Retryable(err) {
			t.Fatal(err)
		}
		cure(t, s, err.Error())
		if err := appendOne(t, openHub(t, url).Store(uuid.New())); err != nil {
			t.Error(err)
		}
	})
	t.Run("hub that waited", func(t *testing.T) {
		s, url := server(t)
		s.Kill()
		h := openHub(t, url)
		store := h.Store(uuid.New())
		s.Restart()
		var err error
		until(t, "refusal", func() bool {
			err = appendOne(t, store)
			return err != nil && !streamhub.Retryable(err)
		})
		cure(t, s, err.Error())
		until(t, "an append", func() bool { return appendOne(t, store) == nil })
	})
	for _, waits := range []bool{false, true} {
		t.Run(fmt.Sprintf("serve, waits %v", waits), func(t *testing.T) {
			s, url := server(t)
			p := &program{}
			if waits {
				s.Kill()
				p = serve(t, "--redis", url).program
				s.Restart()
			} else {
				p = start(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", url)
			}
			if _, code := p.rest(); code != exitFailed {
				t.Errorf("exit %d", code)
			}
			cure(t, s, p.err.String())
			again := serve(t, "--redis", url)
			again.becomesReady(t)
			if r := put(t, again.front+"/v1/stream/a"); r.StatusCode != http.StatusCreated {
				t.Error(r.Status)
			}
			again.end(syscall.SIGTERM)
		})
	}
}

// TestStartOrders starts two gateways, a primary that wants a replica, and the replica, in a random order; STREAMHUB_STARTS says
// how often. All come up.
func TestStartOrders(t *testing.T) {
	for round := range rounds(t, "STREAMHUB_STARTS", 5) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			primary := testredis.Start(t, &testredis.Options{Config: []string{"min-replicas-to-write 1"}})
			host, port, _ := strings.Cut(primary.Addr(), ":")
			replica := testredis.Start(t, &testredis.Options{Config: []string{"replicaof " + host + " " + port}})
			primary.Kill()
			replica.Kill()
			gateways := make([]*served, 2)
			steps := []struct {
				name string
				run  func()
			}{
				{"primary", primary.Restart},
				{"replica", replica.Restart},
				{"gateway 0", func() { gateways[0] = serve(t, "--redis", primary.URL()) }},
				{"gateway 1", func() { gateways[1] = serve(t, "--redis", primary.URL()) }},
			}
			var order []string
			for _, i := range rand.Perm(len(steps)) {
				order = append(order, steps[i].name)
				steps[i].run()
			}
			t.Log(strings.Join(order, ", "))
			for i, g := range gateways {
				g.becomesReady(t)
				if r := put(t, fmt.Sprintf("%s/v1/stream/%d", g.front, i)); r.StatusCode != http.StatusCreated {
					t.Errorf("gateway %d: %s", i, r.Status)
				}
				if code, body := get(t, fmt.Sprintf("%s/v1/stream/%d?offset=-1", gateways[1-i].front, i)); code != http.StatusOK || body != "x" {
					t.Errorf("the other gateway: %d %q", code, body)
				}
			}
			for _, g := range gateways {
				g.end(syscall.SIGTERM)
			}
		})
	}
}

// openHub opens a hub that waits for Redis, and gives up early what Redis does not take.
func openHub(t *testing.T, url string) *hub.Hub {
	t.Helper()
	client, err := hub.NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	h, err := hub.Open(within(t), client, &hub.Options{WaitForRedis: true, RetryFor: 100 * time.Millisecond, SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func appendOne(t *testing.T, s *hub.Store) error {
	_, err := s.Append(within(t), "space", "segment", []streamhub.Record{{Payload: []byte("x")}}, nil)
	return err
}
