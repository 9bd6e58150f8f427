package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

// TestMain is what the suite starts as its child, too.
func TestMain(m *testing.M) {
	flag.Parse()
	if *child != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestSuite runs two rows for a moment: what is measured is worth nothing, that it can be is.
func TestSuite(t *testing.T) {
	if _, err := redisbin.Find(""); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	*rounds, *length, *choose = 2, 20*time.Millisecond, "cores awake, CPU|frames of 100, 100 B"
	*output, *plots, *table = filepath.Join(dir, "result.json"), dir, filepath.Join(dir, "benchmarks.md")
	require.NoError(t, os.WriteFile(*table, []byte("# Title\n\n| row | contestant | median |\n|---|\n| old | old |\n\nText.\n"), 0o600))
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
	text, err = os.ReadFile(*table)
	require.NoError(t, err)
	require.Equal(t, "# Title\n\n"+r.table()+"\nText.\n", string(text))
}

// TestDocument compares the table that is published with the result beside it.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/benchmarks/result.json")
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(text, &r))
	text, err = os.ReadFile("../../docs/benchmarks.md")
	require.NoError(t, err)
	require.Contains(t, string(text), "\n\n"+r.table()+"\n", "run make bench-docs")
}

func TestTable(t *testing.T) {
	r := report{Results: []result{{Row: "append", Unit: "appends/s", Contestants: []standing{
		{Name: "raw", sample: sample{Figure: 1234567.8, Redis: 1, Process: 2.345}, Ratio: 1.2, Target: "≥ 1.6", Noisy: true},
		{Name: "streamhub", sample: sample{Figure: 999.6}, Target: "≥ 900", Holds: true},
		{Name: "rival", sample: sample{Figure: 45.5}, Ratio: 3},
	}}}}
	require.Equal(t, `| row | contestant | median | Redis µs | process µs | streamhub is | target | |
|---|---|---|---|---|---|---|---|
| append (appends/s) | raw | 1,234,568 | 1.00 | 2.35 | 1.20 × | ≥ 1.6 | **falls short**, noisy |
|  | **streamhub** | 1,000 |  |  |  | ≥ 900 | holds |
|  | rival | 45.5 |  |  | 3.00 × |  |  |
`, r.table())
}

func TestTarget(t *testing.T) {
	require.True(t, atLeast(1.6).holds(1.6))
	require.False(t, atLeast(1.6).holds(1.59))
	require.True(t, atMost(1.3).holds(1.3))
	require.False(t, atMost(1.3).holds(1.31))
	require.True(t, target{}.holds(100))
	require.Equal(t, []string{"≥ 1.6", "≤ 11", "≤ 1.55", "≤ 85,000", ""}, []string{
		atLeast(1.6).String(), atMost(11).String(), atMost(1.55).String(), atMost(85_000).String(), target{}.String(),
	})
}

func TestMiddle(t *testing.T) {
	require.Equal(t, sample{Figure: 2, Redis: 5, Process: 9}, middle([]sample{
		{Figure: 3, Redis: 5, Process: 7}, {Figure: 1, Redis: 6, Process: 9}, {Figure: 2, Redis: 4, Process: 11},
	}))
	require.Equal(t, 3*time.Second, percentile([]time.Duration{4 * time.Second, time.Second, 3 * time.Second, 2 * time.Second}, 0.5))
	require.Zero(t, percentile(nil, 0.5))
}
