package genkit

import (
	"testing"

	"github.com/firebase/genkit/go/core"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// Whatever a stream ends with has a status that users of Genkit know, also if the hub is newer and has more kinds.
func TestEveryVerdictHasAStatus(t *testing.T) {
	for _, kind := range append(streamhub.VerdictKinds(), "of a newer hub") {
		var failure *core.UserFacingError
		require.ErrorAs(t, publicError(&streamhub.ClosedError{Verdict: streamhub.Verdict{Kind: kind, Reason: "why"}}), &failure, kind)
		require.NotEmpty(t, failure.Status, kind)
		require.NotEmpty(t, failure.Message, kind)
	}
}
