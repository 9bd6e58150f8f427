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
	synctest.Test(t, func(t *testing.T) {
		w := &world{redis: miniredis.NewMiniRedis(), link: &link{random: rand.New(rand.NewPCG(1, 2)), missed: make(map[string]bool)}}
		defer w.redis.Close()
		w.redis.ClockTTL(true)
		client := redis.NewClient(&redis.Options{
			Addr:                     "127.0.0.1:1", // a name would be looked up outside of the bubble
			Dialer:                   w.link.dialer(w.redis),
			DisableIdentity:          true,
			ContextTimeoutEnabled:    true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		defer client.Close()
		w.conn = connect(t, client)
		test(t, w)
	})
}

// A link fails on command.
type link struct {
	// silent swallows every request: nothing reaches the server and no answer comes.
	silent atomic.Bool

	mu     sync.Mutex
	lossy  bool
	random *rand.Rand
	missed map[string]bool // requests whose last reply was lost
}

// loseReplies loses the reply to every third script, on average, and never that to a request
// that is the repeat of one. The script has run then.
func (l *link) loseReplies(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lossy = on
}

// loses decides about the reply to request.
func (l *link) loses(request []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lossy || !bytes.Contains(request, []byte("evalsha")) {
		return false
	}
	text := string(request)
	l.missed[text] = !l.missed[text] && l.random.IntN(3) == 0
	return l.missed[text]
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
	if c.link.loses(b) {
		c.cut.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.cut.Load() {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}
