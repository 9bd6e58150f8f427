package faultproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit fails what should have happened; short is how long nothing has to happen to be believed.
const (
	limit = 20 * time.Second
	short = 50 * time.Millisecond
)

// echo is a server that answers every read with the same bytes and remembers all of them.
type echo struct {
	net.Listener
	got   chan string // every read
	ended chan error  // how each connection ended, nil for in order
}

func startEcho(t *testing.T) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{Listener: l, got: make(chan string, 10_000), ended: make(chan error, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { e.ended <- e.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return e
}

func (e *echo) serve(c net.Conn) error {
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e.got <- string(buf[:n])
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func start(t *testing.T, target string, seed uint64, faults Faults) *Proxy {
	t.Helper()
	p, err := New(target, seed, faults)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// call sends text and reads as many bytes back.
func call(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil {
		return err
	}
	if string(buf) != text {
		return fmt.Errorf("got %q, want %q", buf, text)
	}
	return nil
}

func mustCall(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if err := call(c, text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func wantReset(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("error %v, want a reset", err)
	}
}

// wantRefused dials; the reset may overtake the end of the dialling.
func wantRefused(t *testing.T, p *Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer c.Close()
		if err = c.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		_, err = c.Read(make([]byte, 1))
	}
	wantReset(t, err)
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatal("nothing received")
		panic("unreachable")
	}
}

// silent fails if a byte or the end of the stream arrives.
func silent(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(short)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v, want silence", n, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
}

func TestForward(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{})
	c := dial(t, p)
	mustCall(t, c, "hello")
	big := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, big)
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c) // ends, because the end of the stream goes there and back
	if err != nil || string(got) != big {
		t.Errorf("%d bytes came back, %v, want the %d sent", len(got), err, len(big))
	}
	if err := receive(t, wrote); err != nil {
		t.Error(err)
	}
	if err := receive(t, e.ended); err != nil {
		t.Errorf("the server's connection ended with %v", err)
	}
	n := p.Counters()
	if want := int64(len("hello") + len(big)); n.BytesToServer != want || n.BytesToClient != want {
		t.Errorf("counted %d and %d bytes, want %d", n.BytesToServer, n.BytesToClient, want)
	}
	if n.Connections != 1 || n.Cuts != 0 || n.Requests < 2 || n.Replies < 2 {
		t.Errorf("counters %+v", n)
	}
}

func TestCutReply(t *testing.T) {
	for name, eof := range map[string]bool{"reset": false, "eof": true} {
		t.Run(name, func(t *testing.T) {
			e := startEcho(t)
			p := start(t, e.Addr().String(), 1, Faults{EOF: eof})
			c := dial(t, p)
			mustCall(t, c, "first")
			p.CutNext(1)
			err := call(c, "second")
			if eof && !errors.Is(err, io.EOF) {
				t.Errorf("error %v, want the end of the stream", err)
			}
			if !eof {
				wantReset(t, err)
			}
			if got := receive(t, e.got) + receive(t, e.got); got != "firstsecond" {
				t.Errorf("the server got %q: a cut reply has been executed", got)
			}
			mustCall(t, dial(t, p), "third")
			if n := p.Counters(); n.CutReplies != 1 || n.Cuts != 1 || n.Replies != 3 {
				t.Errorf("counters %+v", n)
			}
		})
	}
}

// TestPush has a server speak first: that is no reply, so it does not meet the fate of one.
func TestPush(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		_, err = io.WriteString(c, "welcome")
		served <- err
		_, _ = io.Copy(c, c)
	}()
	p := start(t, l.Addr().String(), 1, Faults{CutReply: 1})
	c := dial(t, p)
	if got, err := io.ReadAll(io.LimitReader(c, 7)); err != nil || string(got) != "welcome" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := receive(t, served); err != nil {
		t.Fatal(err)
	}
	wantReset(t, call(c, "a request"))
	if n := p.Counters(); n.Replies != 1 || n.CutReplies != 1 {
		t.Errorf("counters %+v", n)
	}
}

func TestCutRequest(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{CutRequest: 1})
	wantReset(t, call(dial(t, p), "lost"))
	if err := receive(t, e.ended); err == nil {
		t.Error("the server's connection ended in order")
	}
	if n := p.Counters(); len(e.got) != 0 || n.CutRequests != 1 || n.BytesToServer != 0 {
		t.Errorf("the server got %d requests, counters %+v", len(e.got), n)
	}
}

func TestCutAfter(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{CutAfter: 7, EOF: true})
	c := dial(t, p)
	mustCall(t, c, "12345")
	if _, err := io.WriteString(c, "67890"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "67" {
		t.Errorf("got %q, %v, want the two bytes up to 7", got, err)
	}
	if n := p.Counters(); n.BytesToClient != 7 || n.Cuts != 1 {
		t.Errorf("counters %+v", n)
	}
}

// fates runs connections one after the other, each up to its first cut, and returns how many calls each survived.
func fates(t *testing.T, target string, seed uint64, slice int) []int {
	t.Helper()
	p := start(t, target, seed, Faults{CutReply: 0.1, ToServer: Flow{Slice: slice}})
	var survived []int
	for range 20 {
		c := dial(t, p)
		n := 0
		for call(c, "x") == nil {
			n++
		}
		survived = append(survived, n)
	}
	return survived
}

func TestSeed(t *testing.T) {
	e := startEcho(t)
	first := fates(t, e.Addr().String(), 42, 0)
	if again := fates(t, e.Addr().String(), 42, 1); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("seed 42 gave %v, then %v", first, again)
	}
	if other := fates(t, e.Addr().String(), 43, 0); fmt.Sprint(other) == fmt.Sprint(first) {
		t.Errorf("seeds 42 and 43 both gave %v", first)
	}
	total := 0
	for _, n := range first {
		total += n
	}
	// The mean of 20 geometric draws with p = 0.1 is 9 calls each; a tenth or ten times of that is a broken draw.
	if total < 18 || total > 1800 {
		t.Errorf("%d calls survived 20 cuts at 10 %%", total)
	}
}

func TestHold(t *testing.T) {
	for name, faults := range map[string]Faults{
		"to server": {ToServer: Flow{Hold: true}},
		"to client": {ToClient: Flow{Hold: true}},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEcho(t)
			p := start(t, e.Addr().String(), 1, faults)
			c := dial(t, p)
			if _, err := io.WriteString(c, "held"); err != nil {
				t.Fatal(err)
			}
			silent(t, c)
			if reached := len(e.got) > 0; reached != faults.ToClient.Hold {
				t.Errorf("the request reached the server: %v", reached)
			}
			p.Set(Faults{})
			if got, err := io.ReadAll(io.LimitReader(c, 4)); err != nil || string(got) != "held" {
				t.Errorf("after the hold: %q, %v", got, err)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{ToServer: Flow{Delay: short}, ToClient: Flow{Delay: short, Jitter: short}})
	begin := time.Now()
	mustCall(t, dial(t, p), "late")
	if took := time.Since(begin); took < 2*short {
		t.Errorf("there and back in %v, want at least %v", took, 2*short)
	}
}

func TestSlice(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{ToServer: Flow{Slice: 3}, ToClient: Flow{Slice: 1}})
	mustCall(t, dial(t, p), strings.Repeat("abc", 1000))
}

// pieces is the end of a direction that notes the size of every write.
type pieces map[int]int

func (p pieces) Write(b []byte) (int, error) {
	p[len(b)]++
	return len(b), nil
}

func (p pieces) CloseWrite() error { return nil }

// TestSlices counts writes, because the kernel joins small ones again.
func TestSlices(t *testing.T) {
	p := start(t, "127.0.0.1:1", 1, Faults{})
	c := &conn{p: p, done: make(chan struct{})}
	for _, slice := range []int{0, 1, 3} {
		got := make(pieces)
		d := direction{
			c: c, to: got, random: c.chance(forFlowToServer), forwarded: &p.counts.toServer,
			flow: func(*Faults) Flow { return Flow{Slice: slice} },
		}
		if err := d.forward(make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
		switch {
		case slice == 0 && got[3000] != 1, slice == 1 && got[1] != 3000,
			slice == 3 && (len(got) != 3 || got[1] < 400 || got[2] < 400 || got[3] < 400):
			t.Errorf("slice %d: number of writes by size %v", slice, got)
		}
	}
}

func TestBlackhole(t *testing.T) {
	t.Run("to server", func(t *testing.T) {
		e := startEcho(t)
		p := start(t, e.Addr().String(), 1, Faults{})
		c := dial(t, p)
		mustCall(t, c, "seen")
		p.Set(Faults{ToServer: Flow{Blackhole: true}})
		if _, err := io.WriteString(c, "gone"); err != nil {
			t.Fatal(err)
		}
		silent(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		// The server learns neither of the bytes nor of the end; only closing the proxy ends its connection.
		if got := receive(t, e.got); got != "seen" || len(e.got) != 0 || len(e.ended) != 0 {
			t.Errorf("server got %q and %d more, %d ends", got, len(e.got), len(e.ended))
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, e.ended); err == nil {
			t.Error("the server's connection ended in order")
		}
		if n := p.Counters(); n.Swallowed != 4 {
			t.Errorf("counters %+v", n)
		}
	})
	t.Run("to client", func(t *testing.T) {
		e := startEcho(t)
		p := start(t, e.Addr().String(), 1, Faults{ToClient: Flow{Blackhole: true}})
		c := dial(t, p)
		if _, err := io.WriteString(c, "asked"); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, e.got); got != "asked" {
			t.Errorf("server got %q", got)
		}
		silent(t, c)
	})
}

func TestRefuse(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{Refuse: true})
	wantRefused(t, p)
	p.Set(Faults{})
	mustCall(t, dial(t, p), "open again")
	if n := p.Counters(); n.Connections != 2 || n.Refused != 1 {
		t.Errorf("counters %+v", n)
	}
}

func TestDeadTarget(t *testing.T) {
	wantRefused(t, start(t, "127.0.0.1:1", 1, Faults{}))
}

func TestCutAll(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{})
	conns := make([]net.Conn, 5)
	for i := range conns {
		conns[i] = dial(t, p)
		mustCall(t, conns[i], "hello")
	}
	if n := p.CutAll(); n != len(conns) {
		t.Errorf("cut %d connections, want %d", n, len(conns))
	}
	for _, c := range conns {
		wantReset(t, call(c, "again"))
		if err := receive(t, e.ended); err == nil {
			t.Error("the server's connection ended in order")
		}
	}
	mustCall(t, dial(t, p), "a new one works")
}

func TestHalfOpen(t *testing.T) {
	e := startEcho(t)
	p := start(t, e.Addr().String(), 1, Faults{})
	c := dial(t, p)
	mustCall(t, c, "hello")
	if n := p.HalfOpen(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if err := receive(t, e.ended); err == nil {
		t.Error("the server's connection ended in order")
	}
	for range 3 {
		if _, err := io.WriteString(c, "anybody there?"); err != nil {
			t.Fatalf("the client noticed: %v", err)
		}
		silent(t, c)
	}
	mustCall(t, dial(t, p), "a new one works")
}

// TestClose closes in the middle of everything; the leak check of TestMain sees what it leaves behind.
func TestClose(t *testing.T) {
	e := startEcho(t)
	p, err := New(e.Addr().String(), 7, Faults{CutReply: 0.05, ToServer: Flow{Jitter: time.Millisecond, Slice: 5}})
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	running := make(chan struct{}, 100)
	for range 8 {
		clients.Go(func() {
			for {
				c, err := net.Dial("tcp", p.Addr())
				if err != nil {
					return
				}
				for call(c, "some text") == nil {
					select {
					case running <- struct{}{}:
					default:
					}
				}
				_ = c.Close()
			}
		})
	}
	for range 50 {
		receive(t, running)
	}
	p.Set(Faults{ToServer: Flow{Hold: true}})
	p.Set(Faults{ToClient: Flow{Delay: time.Hour}})
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n := len(p.all()); n != 0 {
			t.Errorf("%d connections outlived Close", n)
		}
	}
	clients.Wait()
}

func TestCloseIsSafeWithCalls(t *testing.T) {
	p, err := New(startEcho(t).Addr().String(), 1, Faults{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() { p.Set(Faults{Refuse: true}) }, func() { p.CutAll() }, func() { p.HalfOpen() }, func() { p.CutNext(3) },
		func() { p.Counters() }, func() { p.Faults() }, func() { _ = p.Close() }, func() { _ = p.Close() },
	} {
		wg.Go(func() {
			for range 100 {
				f()
			}
		})
	}
	wg.Wait()
	if !strings.HasPrefix(p.Addr(), "127.0.0.1:") {
		t.Errorf("listens on %s", p.Addr())
	}
}
