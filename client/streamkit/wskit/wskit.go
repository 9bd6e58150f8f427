// Package wskit reaches a hub through a gateway, over the WebSocket protocol of this module.
package wskit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
)

// The errors of streamkit's wskit, so that programs that compare with them compile. No call returns
// them: the same failures are ErrUnavailable, ErrLimitExceeded or ErrTooLarge of package streamhub.
var (
	ErrMuxerClosed      = fmt.Errorf("muxer closed: %w", streamhub.ErrUnavailable)
	ErrHeartbeatTimeout = fmt.Errorf("heartbeat timeout: %w", streamhub.ErrUnavailable)
	ErrStreamOverloaded = fmt.Errorf("stream overloaded: %w", streamhub.ErrLimitExceeded)
	ErrTooManyStreams   = fmt.Errorf("too many active streams: %w", streamhub.ErrLimitExceeded)
	ErrPayloadTooLarge  = fmt.Errorf("muxer payload too large: %w", streamhub.ErrTooLarge)
)

// A MuxerOption sizes a queue of streamkit. There are no such queues here: a reader has a window in bytes, and a slow
// reader does not delay the others. Options are accepted and have no effect.
type MuxerOption func()

// A StreamRecvSaturationPolicy says what streamkit does when a queue is full.
type StreamRecvSaturationPolicy int

// WithStreamRecvQueueSize has no effect, like every [MuxerOption].
func WithStreamRecvQueueSize(int) MuxerOption { return func() {} }

// WithStreamIngressQueueSize has no effect.
func WithStreamIngressQueueSize(int) MuxerOption { return func() {} }

// WithWriteQueueSize has no effect.
func WithWriteQueueSize(int) MuxerOption { return func() {} }

// WithStreamRecvOfferTimeout has no effect.
func WithStreamRecvOfferTimeout(time.Duration) MuxerOption { return func() {} }

// WithStreamRecvSaturationPolicy has no effect.
func WithStreamRecvSaturationPolicy(StreamRecvSaturationPolicy) MuxerOption { return func() {} }

// A WebSocketBidiStreamProvider reaches a hub through one gateway; [client.NewWebSocketProvider] accepts several. Set
// its fields before the first client uses it.
type WebSocketBidiStreamProvider struct {
	// RetryAuthFailures makes the error of a refused token retryable.
	RetryAuthFailures bool
	// OnDialFailure, if not nil, is called after each dial that failed.
	OnDialFailure func(error)

	address string
	token   func() (string, error)

	mu        sync.Mutex
	inner     *client.WebSocketProvider // nil before the first client, and after Close
	stop      func()
	cancel    context.CancelFunc
	calls     sync.WaitGroup // running calls of listeners
	listeners []api.ReconnectListener
}

// NewBidiStreamProvider returns a provider for the gateway at addr, ws:// or wss://. fetchJWT returns the token of a
// dial; nil is for gateways that require no token. It dials nothing; the first call returns the error of an invalid
// address.
func NewBidiStreamProvider(addr string, fetchJWT func() (string, error), _ ...MuxerOption) api.BidiStreamProvider {
	return &WebSocketBidiStreamProvider{address: addr, token: fetchJWT}
}

// Hub returns the provider that package client uses.
func (p *WebSocketBidiStreamProvider) Hub() (streamhub.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inner != nil {
		return p.inner, nil
	}
	o := &client.WebSocketOptions{RetryAuthFailures: p.RetryAuthFailures}
	if p.token != nil {
		o.Token = func(context.Context) (string, error) { return p.token() }
	}
	if failed := p.OnDialFailure; failed != nil {
		o.OnDialFailure = func(_ string, err error) { failed(err) }
	}
	// The provider serves all later callers too, so it ends with Close and not with the context of one caller.
	ctx, cancel := context.WithCancel(context.Background())
	inner, err := client.NewWebSocketProvider(ctx, []string{p.address}, o)
	if err != nil {
		cancel()
		return nil, err
	}
	p.inner, p.cancel = inner, cancel
	p.stop = inner.OnReconnect(func() { p.reconnected(ctx) })
	return inner, nil
}

// reconnected calls the listeners.
func (p *WebSocketBidiStreamProvider) reconnected(ctx context.Context) {
	p.mu.Lock()
	if p.inner == nil {
		p.mu.Unlock()
		return
	}
	p.calls.Add(1)
	listeners := slices.Clone(p.listeners)
	p.mu.Unlock()
	defer p.calls.Done()
	for _, l := range listeners {
		_ = l.OnReconnected(ctx, uuid.Nil) // a listener cannot stop the connection
	}
}

// Close ends the connection and waits for listeners. The provider may be used again.
func (p *WebSocketBidiStreamProvider) Close() error {
	p.mu.Lock()
	inner, stop, cancel := p.inner, p.stop, p.cancel
	p.inner = nil
	p.mu.Unlock()
	if inner == nil {
		return nil
	}
	stop()
	cancel()
	err := inner.Close()
	p.calls.Wait()
	return err
}

// CallStream returns [errors.ErrUnsupported].
func (p *WebSocketBidiStreamProvider) CallStream(context.Context, uuid.UUID, api.Routeable) (api.BidiStream, error) {
	return nil, fmt.Errorf("%w: a stream of streamkit's own", errors.ErrUnsupported)
}

// RegisterReconnectListener calls l after every connection but the first.
func (p *WebSocketBidiStreamProvider) RegisterReconnectListener(l api.ReconnectListener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, l)
}

// UnregisterReconnectListener removes l from the listeners.
func (p *WebSocketBidiStreamProvider) UnregisterReconnectListener(l api.ReconnectListener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = slices.DeleteFunc(p.listeners, func(other api.ReconnectListener) bool { return other == l })
}
