package httpstatus_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
)

// A new code gets a row, or is named here as one that clients are not told of.
func TestEveryCodeIsDecided(t *testing.T) {
	internal := []streamhub.Code{
		streamhub.CodeOf(streamhub.ErrCorrupt), streamhub.CodeOf(context.Canceled), streamhub.CodeOf(context.DeadlineExceeded),
		streamhub.CodeInternal,
	}
	var without []streamhub.Code
	for _, code := range streamhub.Codes() {
		status, ok := httpstatus.Of(code)
		if !ok {
			without = append(without, code)
		}
		require.Equal(t, !ok, status == http.StatusInternalServerError, code)
	}
	require.Equal(t, internal, without)
}
