package option_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/option"
)

func TestDefault(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{0: 5, -1: 5, 1: 1, 9: 9} {
		option.Default(&given, 5)
		require.Equal(t, want, given)
	}
}

func TestLogger(t *testing.T) {
	var logger *slog.Logger
	option.Logger(&logger)
	require.False(t, logger.Enabled(t.Context(), slog.LevelError))
	own := slog.Default()
	option.Logger(&own)
	require.Equal(t, slog.Default(), own)
}
