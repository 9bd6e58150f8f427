package verdict_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// TestRefusedReason has an error whose text no verdict can have: it is refused, and the stream can still be ended.
func TestRefusedReason(t *testing.T) {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	defer h.Close()
	p, _, err := h.Store(uuid.Nil).Live("live").Register(t.Context(), "answer", nil)
	require.NoError(t, err)
	require.ErrorIs(t, p.Fail(t.Context(), errors.New("bad \xff byte")), streamhub.ErrInvalidArgument)
	require.NoError(t, p.Fail(t.Context(), errors.New("a bad byte")))
}
