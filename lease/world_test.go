package lease_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A world is a miniredis and a link to it inside a synctest bubble: the ttls follow the clock of
// the bubble.
type world struct {
	redis *miniredis.Miniredis
	link  *link
	conn  *redisx.Conn
}

func virtual(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	virtualWith(t, true, test)
}

// virtualWith says whether the client heeds the deadline of a context.
func virtualWith(t *testing.T, heeds bool, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{redis: miniredis.NewMiniRedis(), link: &link{}}
		defer w.redis.Close()
		w.redis.ClockTTL(true)
		client := redis.NewClient(&redis.Options{
			Addr:                     "127.0.0.1:1", // a name would be looked up outside of the bubble
			Dialer:                   w.link.dialer(w.redis),
			PoolSize:                 200, // who waits for the pool takes a timer that bubbles share
			DialerRetries:            1,   // more would go on after the test
			DisableIdentity:          true,
			ContextTimeoutEnabled:    heeds,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		defer func() {
			client.Close()
			at(time.Now(), 2*time.Second) // its pool probes a server that was down once a second
		}()
		w.conn = connect(t, client)
		test(t, w)
	})
}

// A link fails on command.
type link struct {
	// silent swallows every request: nothing reaches the server and no answer comes.
	silent atomic.Bool
	// delay holds back every reply, in nanoseconds.
	delay atomic.Int64

	calls, lost atomic.Int64

	mu   sync.Mutex
	lose func(request []byte) bool // nil loses no reply
}

// loseReplies loses the replies to the scripts for which lose says so; they have run then.
func (l *link) loseReplies(lose func(request []byte) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = lose
}

// some loses every third reply on average. The same request is then answered ten times: a repeat
// always is, also where several callers send the same.
func some() func([]byte) bool {
	random := rand.New(rand.NewPCG(1, 2))
	spared := make(map[string]int)
	return func(request []byte) bool {
		text := string(request)
		if spared[text] > 0 {
			spared[text]--
			return false
		}
		if random.IntN(3) > 0 {
			return false
		}
		spared[text] = 10
		return true
	}
}

// first loses the first n replies.
func first(n int) func([]byte) bool {
	return func([]byte) bool { n--; return n >= 0 }
}

func (l *link) loses(request []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !bytes.Contains(request, []byte("evalsha")) {
		return false
	}
	l.calls.Add(1)
	if l.lose == nil || !l.lose(request) {
		return false
	}
	l.lost.Add(1)
	return true
}

func (l *link) dialer(m *miniredis.Miniredis) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		if l.silent.Load() {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
		}
		c, err := m.Dial()
		return &linkConn{Conn: c, link: l}, err
	}
}

type linkConn struct {
	net.Conn
	link *link
	cut  atomic.Bool // at the next reply
}

func (c *linkConn) Write(b []byte) (int, error) {
	if c.link.silent.Load() {
		return len(b), nil
	}
	if len(b) > 2<<10 { // a pipeline: nothing buffers it, and the server answers before it has read all
		go func() { _, _ = c.Conn.Write(bytes.Clone(b)) }()
		return len(b), nil
	}
	if c.link.loses(b) {
		c.cut.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	at(time.Now(), time.Duration(c.link.delay.Load()))
	if err == nil && c.cut.Load() {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}
