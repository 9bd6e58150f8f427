package client

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// TestDoubtAgain: an append that came into doubt twice is remembered as long as the last time asks for.
func TestDoubtAgain(t *testing.T) {
	tail := &tail{doubts: map[uuid.UUID]*slot{}}
	doubt := func(trx uuid.UUID) {
		_, err := tail.putBack(tail.take("client", trx, false), trx, streamhub.ErrUnknownOutcome)
		require.ErrorIs(t, err, streamhub.ErrUnknownOutcome)
	}
	trx := uuid.New()
	for range 10 {
		doubt(trx)
		_, err := tail.putBack(tail.take("client", trx, false), trx, nil)
		require.NoError(t, err)
	}
	doubt(trx)
	for range maxDoubts - 1 {
		doubt(uuid.New())
	}
	require.True(t, tail.inDoubt(trx))
	doubt(uuid.New())
	require.False(t, tail.inDoubt(trx), "the oldest one goes first")
	require.Len(t, tail.doubts, maxDoubts)
	require.Len(t, tail.order, maxDoubts)
}
