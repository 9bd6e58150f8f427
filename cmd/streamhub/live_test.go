package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

// TestLive produces, reads and asks through a gateway and on the Redis itself.
func TestLive(t *testing.T) {
	server := testredis.Start(t, nil)
	s := serve(t, "--redis", server.URL())
	places := [][]string{{"--server", s.ws()}, {"--redis", server.URL()}}
	for i, to := range places {
		id := []string{"chat/1 ü", "chat/2"}[i]
		on := func(place []string, args ...string) []string { return append(args, place...) }
		if r := call(t, nil, on(to, "live", "read", id)...); r.code != exitFailed || r.out != "" {
			t.Errorf("read of none: %+v", r)
		}
		r := good(t, strings.NewReader("one\n\n two\r\n\xff"), on(to, "live", "publish", id)...)
		if strings.TrimSpace(r.err) != `{"kind":"done"}` || r.out != "" {
			t.Errorf("publish: %+v", r)
		}
		for _, from := range places {
			if r := good(t, nil, on(from, "live", "read", id)...); r.out != "one\n\n two\n\xff\n" || !strings.Contains(r.err, `"done"`) {
				t.Errorf("read: %+v", r)
			}
			if r := good(t, nil, on(from, "live", "status", id)...); !strings.Contains(r.out, `"chunks":4`) {
				t.Errorf("status: %+v", r)
			}
			if r := good(t, nil, on(from, "live", "cancel", id)...); !strings.Contains(r.out, `"done"`) {
				t.Errorf("cancel of what has ended: %+v", r)
			}
		}
	}
	if r := call(t, nil, "live", "status", "x", "--server", "ftp://127.0.0.1:1"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	if r := call(t, nil, "live", "status", "x", "--server", "ws://127.0.0.1:1"); r.code != exitFailed || !strings.Contains(r.err, "unavailable") {
		t.Errorf("%+v", r)
	}
	s.end(syscall.SIGTERM)
}

// TestLiveCancel stops a producer that waits for more input, from another process, while two others
// read, one of them through the gateway that is killed.
func TestLiveCancel(t *testing.T) {
	server := testredis.Start(t, nil)
	s := serve(t, "--redis", server.URL())
	producer := start(t, nil, "live", "publish", "job", "--redis", server.URL())
	if _, err := io.WriteString(producer.in, "1\n2\n"); err != nil {
		t.Fatal(err)
	}
	readers := []*program{}
	for _, place := range [][]string{{"--server", s.ws()}, {"--redis", server.URL()}} {
		for {
			r := start(t, nil, append([]string{"live", "read", "job"}, place...)...)
			if line, err := r.out.ReadString('\n'); err == nil && line == "1\n" {
				readers = append(readers, r)
				break
			} // it was there before the producer
		}
	}
	if r := call(t, strings.NewReader("x\n"), "live", "publish", "job", "--server", s.ws()); r.code != exitConflict || !strings.Contains(r.err, "--takeover") || strings.Contains(r.err, "configuration") {
		t.Errorf("a second producer: %+v", r)
	}
	r := good(t, nil, "live", "cancel", "job", "--reason", "enough", "--server", s.ws())
	if !strings.Contains(r.out, `"kind":"cancelled","reason":"enough"`) {
		t.Errorf("%+v", r)
	}
	for _, p := range append(readers, producer) {
		if code := p.wait(); code != exitFailed {
			t.Errorf("ended with %d", code)
		}
	}
	s.end(syscall.SIGTERM)
}

func TestLiveOrigin(t *testing.T) {
	s := serve(t)
	good(t, strings.NewReader("1\n"), "live", "publish", "job", "--server", s.ws())
	for origin, want := range map[string]int{"": 200, s.front: 200, "https://evil.example": 403} {
		var headers []string
		if origin != "" {
			headers = []string{"Origin", origin}
		}
		if status, body := ask(t, http.MethodPost, s.front+"/v1/live/job/cancel", "", headers...); status != want {
			t.Errorf("%q: %d %s", origin, status, body)
		}
	}
	s.end(syscall.SIGTERM)
}

// TestLiveGoesOn kills and drains gateways in turn under a producer and a reader. There is one generation,
// and each chunk comes once. STREAMHUB_LIVE_ROUNDS says how often; of seven rounds two are drains.
func TestLiveGoesOn(t *testing.T) {
	rounds := rounds(t, "STREAMHUB_LIVE_ROUNDS", 4)
	server := testredis.Start(t, nil)
	gateways := []*served{serve(t, "--redis", server.URL()), serve(t, "--redis", server.URL())}
	both := gateways[0].ws() + "," + gateways[1].ws()
	producer := start(t, nil, "live", "publish", "job", "--server", both)
	reader := start(t, nil, "live", "read", "job", "--wait", "30s", "--server", both)
	n := 0
	send := func(lines int) {
		for range lines {
			n++
			if _, err := fmt.Fprintln(producer.in, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	// next reads to the last line that was sent, so that the round before is over for both.
	got := 0
	next := func() {
		for got < n {
			line, err := reader.out.ReadString('\n')
			if err != nil {
				t.Fatalf("after line %d: %v\n%s", got, err, reader.err)
			}
			if got++; line != fmt.Sprintln(got) {
				t.Fatalf("line %d is %q", got, line)
			}
		}
	}
	send(10)
	next()
	generation := status(t, both).Generation
	kills, drains := 0, 0
	for round := range rounds {
		g := gateways[round%2]
		send(20)
		if round%7 == 1 || round%7 == 4 {
			drains++
			g.signal(syscall.SIGTERM)
		} else {
			kills++
			g.signal(syscall.SIGKILL)
		}
		send(20)
		g.wait()
		gateways[round%2] = serve(t, "--redis", server.URL(), "--listen", strings.TrimPrefix(g.front, "http://"))
		send(10)
		next()
	}
	if err := producer.in.Close(); err != nil {
		t.Fatal(err)
	}
	if code := producer.wait(); code != 0 || strings.TrimSpace(producer.err.String()) != `{"kind":"done"}` {
		t.Errorf("the producer ended with %d, %s", code, producer.err)
	}
	if code := reader.wait(); code != 0 {
		t.Errorf("the reader ended with %d, %s", code, reader.err)
	}
	if s := status(t, both); s.Generation != generation || s.Chunks != uint64(n) {
		t.Errorf("%+v, want generation %d with %d chunks", s, generation, n)
	}
	t.Logf("%d kills, %d drains, %d chunks", kills, drains, n)
}

func status(t *testing.T, server string) (s live.Status) {
	t.Helper()
	if err := json.Unmarshal([]byte(good(t, nil, "live", "status", "job", "--server", server).out), &s); err != nil {
		t.Fatal(err)
	}
	return s
}
