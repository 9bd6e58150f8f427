package verdict_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// TestAnyErrorFails has errors with texts that no verdict can have as they are: the stream ends with most of them.
func TestAnyErrorFails(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	defer h.Close()
	streams := h.Store(uuid.Nil).Live("live")
	for _, test := range []struct{ id, text, reason string }{
		{"broken", "bad \xff byte", "bad \ufffd byte"},
		{"long", strings.Repeat("é", 1<<20), strings.Repeat("é", 64<<10) + "…"},
		{"escaped", strings.Repeat("<", 2<<20), strings.Repeat("<", 128<<10) + "…"},
	} {
		p, _, err := streams.Register(t.Context(), test.id, nil)
		require.NoError(t, err)
		require.NoError(t, p.Fail(t.Context(), errors.New(test.text)), test.id)
		s, err := streams.Get(t.Context(), test.id)
		require.NoError(t, err)
		v, err := s.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, streamhub.VerdictFailed, v.Kind)
		require.Equal(t, test.reason, v.Reason, test.id)
	}
}
