package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/pause"
)

func TestGoodbye(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		bye, done := pause.Goodbye(ctx)
		require.Equal(t, "value", bye.Value(key{}))
		begun := time.Now()
		cancel(why)
		<-bye.Done()
		require.Equal(t, time.Second, time.Since(begun))
		require.ErrorIs(t, context.Cause(bye), why)
		done()
		begun = time.Now()
		bye, done = pause.Goodbye(ctx) // which has ended before
		require.NoError(t, bye.Err())
		done()
		require.ErrorIs(t, bye.Err(), context.Canceled)
		done()
		require.Zero(t, time.Since(begun))
		bye, done = pause.Goodbye(t.Context())
		done()
		require.ErrorIs(t, bye.Err(), context.Canceled)
	})
}
