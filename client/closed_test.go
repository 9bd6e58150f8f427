package client_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/client/providertest"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// TestClosed: every call on what was closed says so, and a client stays closed although its provider is open.
func TestClosed(t *testing.T) {
	h := embedded(t)
	address := serve(t, h, nil)
	closed := dial(t, nil, address)
	require.NoError(t, closed.Close())
	own, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	overOwn := own.Store(uuid.New())
	require.NoError(t, own.Close())
	lent, err := hub.NewClient(h.RedisURL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, lent.Close()) })
	other, err := hub.Open(t.Context(), lent, nil)
	require.NoError(t, err)
	overLent := other.Store(uuid.New())
	require.NoError(t, other.Close())
	over := client.New(h.Provider(), nil)
	require.NoError(t, over.Close())
	for name, s := range map[string]streamhub.Store{
		"hub": overOwn, "hub on a client that is open": overLent, "provider": closed.Store(uuid.New()),
		"client": over.Store(uuid.New()), "client of a closed provider": connect(t, closed, nil).Store(uuid.New()),
	} {
		t.Run(name, func(t *testing.T) { providertest.All(t, t.Context(), s, streamhub.ErrShutdown) })
	}
}

// TestCloseEndsReads: what follows over a client ends with it.
func TestCloseEndsReads(t *testing.T) {
	h := embedded(t)
	for name, p := range map[string]streamhub.Provider{"in process": h.Provider(), "gateway": dial(t, nil, serve(t, h, &wsgateway.Options{}))} {
		t.Run(name, func(t *testing.T) {
			c := client.New(p, nil)
			s := c.Store(uuid.New())
			_, err := s.Append(t.Context(), "space", "seg", one("1"), nil)
			require.NoError(t, err)
			seen, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				for _, err := range s.FollowSegment(context.WithoutCancel(t.Context()), "space", "seg", nil) {
					if err != nil {
						ended <- err
						return
					}
					close(seen)
				}
				ended <- nil
			}()
			<-seen
			require.NoError(t, c.Close())
			require.ErrorIs(t, <-ended, streamhub.ErrShutdown)
		})
	}
}
