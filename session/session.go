package session

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/coder/websocket"
	"github.com/seed-147127fe/streamhub/internal/option"
)

// SessionConfig configures a [Session] with chunks of type T.
type SessionConfig[T any] struct {
	// Conn must be connected. The session closes it.
	Conn *Conn
	// OnMessage turns a message into any number of chunks. An error ends the session.
	OnMessage func(message []byte) ([]T, error)
	// OnError reports whether to reconnect after a connection ended with err. By default the session
	// reconnects, if OnReconnect and MaxReconnectAttempts allow it.
	OnError func(err error) (reconnect bool)
	// OnReconnect is called on each new connection before its messages are handled, for example to
	// send a subscription again. Without it the session does not reconnect.
	OnReconnect func(ctx context.Context, conn *Conn) error
	// MaxReconnectAttempts limits the attempts after one loss; each attempt is a ConnectWithRetry. 0
	// does not reconnect.
	MaxReconnectAttempts int
	// ResponseChannelSize is the capacity of the channel of chunks; the default is 10.
	ResponseChannelSize int
	Logger              Logger
}

// A Session turns the messages of a Conn into chunks. It ends by Close, by its context, by close code 1000, or by an
// error after which it does not reconnect.
type Session[T any] struct {
	cfg    SessionConfig[T]
	ctx    context.Context
	cancel context.CancelFunc
	chunks chan T
	done   chan struct{}

	mu     sync.Mutex
	closed bool
	err    error
}

// ErrSessionClosed is the error of calls on a closed Session.
var ErrSessionClosed = errors.New("session is closed")

// NewSession starts a session, which ends at the latest when ctx ends.
func NewSession[T any](ctx context.Context, cfg SessionConfig[T]) (*Session[T], error) {
	switch {
	case cfg.Conn == nil:
		return nil, errors.New("Conn is required")
	case cfg.OnMessage == nil:
		return nil, errors.New("OnMessage is required")
	}
	option.Default(&cfg.ResponseChannelSize, 10)
	if cfg.Logger == nil {
		cfg.Logger = silent{}
	}
	s := &Session[T]{cfg: cfg, chunks: make(chan T, cfg.ResponseChannelSize), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(ctx)
	cfg.Logger.Info("session started")
	go s.run()
	return s, nil
}

func (s *Session[T]) run() {
	err := s.handle()
	_ = s.cfg.Conn.Close()
	if err != nil {
		s.cfg.Logger.Error("session ended", "error", err)
	} else {
		s.cfg.Logger.Info("session ended")
	}
	s.mu.Lock()
	s.err, s.closed = err, true
	s.mu.Unlock()
	s.cancel()
	close(s.chunks)
	close(s.done)
}

// handle handles messages until the session ends. It returns why, or nil after a regular end.
func (s *Session[T]) handle() error {
	for {
		message, err := s.cfg.Conn.Receive(s.ctx)
		switch {
		case err == nil:
		case s.ctx.Err() != nil, errors.Is(err, ErrConnClosed), websocket.CloseStatus(err) == websocket.StatusNormalClosure:
			return nil
		default:
			if err := s.reconnect(err); err != nil {
				return err
			}
			continue
		}
		chunks, err := s.cfg.OnMessage(message)
		if err != nil {
			return fmt.Errorf("message handler: %w", err)
		}
		for _, c := range chunks {
			select {
			case s.chunks <- c:
			case <-s.ctx.Done():
				return nil
			}
		}
	}
}

// reconnect connects again after the error lost, or returns why it does not.
func (s *Session[T]) reconnect(lost error) error {
	if s.cfg.OnReconnect == nil || s.cfg.MaxReconnectAttempts <= 0 || s.cfg.OnError != nil && !s.cfg.OnError(lost) {
		return lost
	}
	var err error
	for attempt := 1; attempt <= s.cfg.MaxReconnectAttempts; attempt++ {
		s.cfg.Logger.Info("connecting again", "attempt", attempt, "error", lost)
		s.cfg.Conn.Reset()
		if err = s.cfg.Conn.ConnectWithRetry(s.ctx); err == nil {
			if err = s.cfg.OnReconnect(s.ctx, s.cfg.Conn); err == nil {
				s.cfg.Logger.Info("session continues", "attempt", attempt)
				return nil
			}
		}
		if s.ctx.Err() != nil {
			return nil //nolint:nilerr // the session was closed meanwhile
		}
	}
	return fmt.Errorf("reconnecting failed %d times: %w, after: %w", s.cfg.MaxReconnectAttempts, err, lost)
}

// Send sends v as JSON.
func (s *Session[T]) Send(v any) error {
	if s.Closed() {
		return ErrSessionClosed
	}
	return s.cfg.Conn.Send(v)
}

// SendRaw sends a text message; see [Conn.SendRaw].
func (s *Session[T]) SendRaw(data []byte) error {
	if s.Closed() {
		return ErrSessionClosed
	}
	return s.cfg.Conn.SendRaw(data)
}

// Response is the channel of chunks. It is closed when the session has ended.
func (s *Session[T]) Response() <-chan T { return s.chunks }

// Done is closed when the session has ended, together with Response.
func (s *Session[T]) Done() <-chan struct{} { return s.done }

// Error returns why the session has ended; nil while it runs, and after a regular end.
func (s *Session[T]) Error() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session and its Conn, and waits for their goroutines. It may be called twice.
func (s *Session[T]) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	<-s.done
	return nil
}

// Conn returns the Conn of the session.
func (s *Session[T]) Conn() *Conn { return s.cfg.Conn }

// Closed reports whether the session has ended, or is about to.
func (s *Session[T]) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
