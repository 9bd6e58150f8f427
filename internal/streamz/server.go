package streamz

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// dialTimeout bounds an attempt to connect again.
const dialTimeout = 10 * time.Second

// Options say what a [Server] does when its connection ends; nil stands for the defaults.
type Options struct {
	// Patience is how long a call connects again without getting anything; the default is not at all.
	Patience time.Duration
	// Lost is told why a connection ended, once until Back is told that entries come again. Both may be nil.
	Lost func(err error)
	Back func()
	// HTTPClient dials; the default is http.DefaultClient. Its Timeout must be 0.
	HTTPClient *http.Client
}

// A Server is dialed again when its connection ends: calls are made again, and reads go on after the entry that came last.
// What fails for good ends a call at once. It is for one goroutine.
type Server struct {
	dial func(ctx context.Context) (*Conn, error)
	conn *Conn // nil once it has ended
	// lost is true from the loss of a connection until something came over a new one: Lost and Back are told once each.
	lost bool
	o    Options
}

// Open is [Dial] for a connection that is made again.
func Open(ctx context.Context, address, token string, o *Options) (*Server, error) {
	s := &Server{}
	if o != nil {
		s.o = *o
	}
	s.dial = func(ctx context.Context) (*Conn, error) { return Dial(ctx, address, token, s.o.HTTPClient) }
	var err error
	s.conn, err = s.dial(ctx)
	return s, err
}

// Close ends the connection.
func (s *Server) Close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// again calls until the call is answered. A call that got something reports it: the patience begins again then.
func (s *Server) again(ctx context.Context, call func(c *Conn) (came bool, err error)) error {
	failing := pause.Backoff{First: 100 * time.Millisecond, Longest: 5 * time.Second}
	var since time.Time
	for {
		came, err := s.once(ctx, call)
		if err == nil && s.lost {
			s.found()
		}
		if err == nil || !errors.Is(err, streamhub.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		s.Close()
		// Patience is for one outage: what came shows that the one before is over.
		if came || since.IsZero() {
			since = time.Now()
			failing.Reset()
		}
		if time.Since(since) >= s.o.Patience {
			return err
		}
		if !s.lost && s.o.Lost != nil {
			s.o.Lost(err)
		}
		s.lost = true
		if !failing.Wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

func (s *Server) once(ctx context.Context, call func(c *Conn) (bool, error)) (came bool, err error) {
	if s.conn == nil {
		within, cancel := context.WithTimeout(ctx, dialTimeout)
		s.conn, err = s.dial(within)
		cancel()
		if err != nil {
			return false, err
		}
	}
	return call(s.conn)
}

func (s *Server) found() {
	s.lost = false
	if s.o.Back != nil {
		s.o.Back()
	}
}

func (s *Server) names(ctx context.Context, list func(c *Conn) ([]string, error)) (names []string, err error) {
	err = s.again(ctx, func(c *Conn) (bool, error) {
		names, err = list(c)
		return false, err
	})
	return names, err
}

// Spaces is [Conn.Spaces].
func (s *Server) Spaces(ctx context.Context, store uuid.UUID) ([]string, error) {
	return s.names(ctx, func(c *Conn) ([]string, error) { return c.Spaces(ctx, store) })
}

// Segments is [Conn.Segments].
func (s *Server) Segments(ctx context.Context, store uuid.UUID, space string) ([]string, error) {
	return s.names(ctx, func(c *Conn) ([]string, error) { return c.Segments(ctx, store, space) })
}

// Entries is [Conn.Entries].
func (s *Server) Entries(ctx context.Context, store uuid.UUID, space, segment string, from uint64, n int) (list []streamhub.Entry, err error) {
	err = s.again(ctx, func(c *Conn) (bool, error) {
		list, err = c.Entries(ctx, store, space, segment, from, n)
		return false, err
	})
	return list, err
}

// ConsumeSpace is [Conn.ConsumeSpace].
func (s *Server) ConsumeSpace(ctx context.Context, store uuid.UUID, space string, offset streamhub.LexKey, until time.Time) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		after := offset
		err := s.again(ctx, func(c *Conn) (came bool, err error) {
			for e, err := range c.ConsumeSpace(ctx, store, space, after, until) {
				if err != nil {
					return came, err
				}
				if s.lost {
					s.found()
				}
				came, after = true, e.GetSpaceOffset()
				if !yield(e, nil) {
					return true, nil
				}
			}
			return came, nil
		})
		if err != nil {
			yield(streamhub.Entry{}, err)
		}
	}
}
