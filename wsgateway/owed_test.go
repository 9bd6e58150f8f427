package wsgateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub/hubtest"
)

// TestOwed deletes a segment that a program with the hub and a client both write to. Each is told once,
// and a creation is never told.
func TestOwed(t *testing.T) {
	env := hubtest.Open(t)
	local, remote := env.Hub().Store(env.ID), env.Client().Store(env.ID)
	put := func(s streamhub.Store) error {
		_, err := s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
		return err
	}
	other, err := env.NewHub()
	require.NoError(t, err)
	for _, created := range []bool{false, true} {
		require.NoError(t, put(local))
		require.NoError(t, put(remote))
		require.NoError(t, other.Store(env.ID).Delete(t.Context(), "space", "seg", "because"))
		require.ErrorIs(t, put(remote), streamhub.ErrNotFound)
		if created {
			_, made, err := remote.Create(t.Context(), "space", "seg", nil)
			require.NoError(t, err)
			require.True(t, made)
		} else {
			require.ErrorIs(t, put(local), streamhub.ErrNotFound)
		}
		require.NoError(t, put(local))
		require.NoError(t, put(remote))
	}
}
