package millis_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.UnixMilli(1700000000123), 1700000000123},
		{time.UnixMilli(1700000000123).Add(999999), 1700000000123},
		{time.UnixMilli(1700000000123).In(time.FixedZone("", 3600)), 1700000000123},
		{time.Unix(0, 0), -1},
		{time.Unix(0, 999999), -1},
		{time.Unix(0, -1), -1},
		{time.Unix(0, -1000001), -2},
		{time.Unix(1<<60, 0), math.MaxInt64},
		{time.UnixMilli(math.MaxInt64), math.MaxInt64},
		{time.Unix(-1<<60, 0), math.MinInt64},
		{time.UnixMilli(math.MinInt64), math.MinInt64},
	} {
		require.Equal(t, c.want, millis.Of(c.at), c.at)
	}
}

// TestTime: what was read from the wire is written as it was, and equal times are equal in every way.
func TestTime(t *testing.T) {
	require.True(t, millis.Time(0).IsZero())
	for _, ms := range []int64{1, -1, 1700000000123, math.MaxInt64, math.MinInt64} {
		require.Equal(t, ms, millis.Of(millis.Time(ms)))
		a, b := millis.Time(ms), millis.Time(ms)
		require.True(t, a == b) //nolint:staticcheck // not Equal: readers may compare them as they are
		require.Equal(t, time.UTC, millis.Time(ms).Location())
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = millis.Of(millis.Time(1700000000123)) }))
}
