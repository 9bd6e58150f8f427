package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

// TestSuite runs two rows for a moment: what is measured is worth nothing, that it can be is.
func TestSuite(t *testing.T) {
	if _, err := redisbin.Find(""); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	*rounds, *length, *choose = 2, 20*time.Millisecond, "one caller alone|frames of 100, 100 B"
	*output, *plots = filepath.Join(dir, "result.json"), dir
	require.NoError(t, suite(t.Context()))
	text, err := os.ReadFile(*output)
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(text, &r))
	require.Len(t, r.Results, 2)
	for _, row := range r.Results {
		for i, c := range row.Contestants {
			require.Len(t, c.Rounds, 2)
			require.Positive(t, c.Figure, "%s: %s", row.Row, c.Name)
			require.Equal(t, i != ours, c.Ratio > 0)
		}
	}
	require.FileExists(t, filepath.Join(dir, "throughput.svg"))
	require.FileExists(t, filepath.Join(dir, "cost.svg"))
}

func TestTarget(t *testing.T) {
	require.True(t, target{atLeast: 1.6}.holds(1.6))
	require.False(t, target{atLeast: 1.6}.holds(1.59))
	require.True(t, target{atMost: 1.3}.holds(1.3))
	require.False(t, target{atMost: 1.3}.holds(1.31))
	require.True(t, target{}.holds(100))
	require.Equal(t, []string{"≥ 1.6", "≤ 11", "≤ 1.55", ""}, []string{
		target{atLeast: 1.6}.String(), target{atMost: 11}.String(), target{atMost: 1.55}.String(), target{}.String(),
	})
}

func TestMiddle(t *testing.T) {
	require.Equal(t, sample{Figure: 2, Redis: 5, Process: 9}, middle([]sample{{3, 5, 7}, {1, 6, 9}, {2, 4, 11}}))
	require.Equal(t, 3*time.Second, percentile([]time.Duration{4 * time.Second, time.Second, 3 * time.Second, 2 * time.Second}, 0.5))
	require.Zero(t, percentile(nil, 0.5))
}
