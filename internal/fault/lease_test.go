package fault_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
)

func TestUnrenewed(t *testing.T) {
	silent := "the lease was lost: no renewal was answered within two thirds of its ttl"
	for _, c := range []struct {
		last error
		text string
	}{
		{nil, silent},
		{context.DeadlineExceeded, silent},
		{&streamhub.Error{Op: "renew lease", Lease: "key", Err: &streamhub.UnknownOutcomeError{Err: context.DeadlineExceeded}}, silent},
		{
			&streamhub.Error{Op: "renew lease", Lease: "key", Err: streamhub.ErrUnauthenticated},
			"the lease was lost: no renewal succeeded within two thirds of its ttl, and the last one failed: unauthenticated",
		},
	} {
		err := fault.Unrenewed(c.last)
		require.EqualError(t, err, c.text)
		require.ErrorIs(t, err, streamhub.ErrLeaseLost)
		if c.last != nil {
			require.NotErrorIs(t, err, c.last)
		}
		require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome)
	}
}
