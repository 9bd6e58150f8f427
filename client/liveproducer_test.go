package client

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// TestEndedWhilePending: a verdict that waits for chunks ends with the reason for which no gateway takes them any more.
func TestEndedWhilePending(t *testing.T) {
	p := newLiveProducer(&liveRemote{liveStream: &liveStream{}}, live.RegisterOptions{})
	p.life, p.leave = context.WithCancel(t.Context())
	p.ctx, p.cancel = context.WithCancelCause(t.Context())
	p.pending = [][]byte{[]byte("late")}
	settled := make(chan error, 1)
	go func() { settled <- p.suspend(t.Context()) }()
	<-p.hurry // it waits for the chunk
	require.True(t, p.stopped(streamhub.ErrFenced))
	require.ErrorIs(t, <-settled, streamhub.ErrFenced)
	require.ErrorIs(t, context.Cause(p.ctx), streamhub.ErrFenced)
}

// TestReasonOutlivesGoroutines: the context of a producer tells why it has to stop, however soon its goroutines go and
// release the parent of that context.
func TestReasonOutlivesGoroutines(t *testing.T) {
	p := newLiveProducer(&liveRemote{liveStream: &liveStream{}}, live.RegisterOptions{})
	lasts, release := context.WithCancel(t.Context())
	p.ctx, p.cancel = context.WithCancelCause(lasts)
	p.life, p.leave = context.WithCancel(lasts)
	leave := p.leave
	p.leave = func() { leave(); release() }
	p.stop(streamhub.ErrFenced)
	require.ErrorIs(t, context.Cause(p.ctx), streamhub.ErrFenced)
}
