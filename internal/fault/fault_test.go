package fault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
)

func TestAt(t *testing.T) {
	where, other := streamhub.Error{Op: "append", Space: "s", Segment: "g"}, streamhub.Error{Op: "status", Space: "s"}
	broken := errors.New("broken")
	for _, wrap := range []func(streamhub.Error, error) error{fault.At, fault.Outer} {
		require.NoError(t, wrap(where, nil))
		err := wrap(where, broken)
		require.EqualError(t, err, `append "s"/"g": broken`)
		require.ErrorIs(t, err, broken)
	}
	inner := fmt.Errorf("page 2: %w", fault.At(other, broken))
	require.Equal(t, inner, fault.At(where, inner), "the inner call stays")
	require.EqualError(t, fault.Outer(where, inner), `append "s"/"g": broken`)
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		require.Equal(t, end, fault.Outer(where, end))
		require.EqualError(t, fault.At(where, end), `append "s"/"g": `+end.Error())
	}
}

func TestLevel(t *testing.T) {
	away := &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: errors.New("refused")}
	for _, err := range []error{away, fault.At(streamhub.Error{Op: "list"}, away), &streamhub.UnknownOutcomeError{Err: errors.New("timeout")}} {
		require.Equal(t, slog.LevelDebug, fault.Level(err, slog.LevelWarn), "%v", err)
	}
	for _, err := range []error{streamhub.ErrCorrupt, fmt.Errorf("%w: the archive", streamhub.ErrUnavailable)} {
		require.Equal(t, slog.LevelError, fault.Level(err, slog.LevelError), "%v", err)
	}
}
