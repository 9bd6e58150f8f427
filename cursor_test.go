package streamhub_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

var positions = []streamhub.Position{
	{},
	{Incarnation: 1},
	{Incarnation: 1, Lineage: 2, Sequence: 3, Proof: 4},
	{Incarnation: math.MaxUint64, Lineage: math.MaxUint64, Sequence: math.MaxUint64, Proof: math.MaxUint64},
	{Incarnation: 1, Lineage: 2, Sequence: 3, Proof: 4, Timeline: streamhub.TimelineID{MS: 5, N: 6}, Index: 7, Mark: 8},
	{Timeline: streamhub.TimelineID{N: 1}},
	{Incarnation: 1, Lineage: 2, Sequence: 3, Proof: 4, Timeline: streamhub.TimelineID{MS: 5, N: 6}, Index: 7, Trimmed: streamhub.TimelineID{MS: 8, N: 9}},
	{Timeline: streamhub.TimelineID{MS: math.MaxUint64, N: math.MaxUint64}, Index: 1 << 31, Trimmed: streamhub.TimelineID{MS: math.MaxUint64, N: math.MaxUint64}},
	{Timeline: streamhub.TimelineID{MS: math.MaxUint64, N: math.MaxUint64}, Index: 1 << 31},
}

func TestCursor(t *testing.T) {
	seen := map[streamhub.Cursor]bool{}
	for _, p := range positions {
		c := p.Cursor()
		if seen[c] {
			t.Errorf("%+v shares a text with another position", p)
		}
		seen[c] = true
		back, err := c.Position()
		if err != nil || back != p {
			t.Errorf("%+v -> %q -> %+v, %v", p, c, back, err)
		}
		if c != "" && (c[0] < 'A' || strings.ContainsFunc(string(c), func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)
		})) {
			t.Errorf("%q is more than letters, digits, '-' and '_'", c)
		}
		for _, changed := range []streamhub.Cursor{c + "A", c + "=", " " + c, c + "\n"} {
			if _, err := changed.Position(); !errors.Is(err, streamhub.ErrInvalidCursor) {
				t.Errorf("%q: %v", changed, err)
			}
		}
	}
}

func TestEntryJSON(t *testing.T) {
	for _, p := range positions {
		e := streamhub.Entry{
			Space: "space", Segment: "seg", Sequence: 1, Timestamp: time.UnixMilli(2), TRX: streamhub.TRX{ID: uuid.New(), Number: 3},
			Metadata: map[string]string{"k": "v"}, Payload: []byte{0, 255}, Position: p,
		}
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back streamhub.Entry
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(data) != string(again) || back.Position != p {
			t.Errorf("%s, %s, %v", data, again, err)
		}
	}
}

// FuzzCursor shows that no text but the one that a position has is taken for it.
func FuzzCursor(f *testing.F) {
	for _, p := range positions {
		f.Add(string(p.Cursor()))
	}
	f.Add("c")
	f.Add("12")
	f.Add(strings.Repeat("c", 200))
	f.Fuzz(func(t *testing.T, text string) {
		c := streamhub.Cursor(text)
		p, err := c.Position()
		switch {
		case err != nil:
			if !errors.Is(err, streamhub.ErrInvalidCursor) || p != (streamhub.Position{}) {
				t.Fatalf("%q: %+v, %v", text, p, err)
			}
		case p.Cursor() != c:
			t.Fatalf("%q and %q are one position", text, p.Cursor())
		}
	})
}

// FuzzPosition shows that every position survives as text.
func FuzzPosition(f *testing.F) {
	for _, p := range positions {
		f.Add(p.Incarnation, p.Lineage, p.Sequence, p.Proof, p.Timeline.MS, p.Timeline.N, p.Index)
	}
	f.Fuzz(func(t *testing.T, incarnation, lineage, sequence, proof, ms, n uint64, index uint32) {
		p := streamhub.Position{
			Incarnation: incarnation, Lineage: lineage, Sequence: sequence, Proof: proof,
			Timeline: streamhub.TimelineID{MS: ms, N: n}, Index: index % (1<<31 + 1),
		}
		if p.Timeline.MS == 0 && p.Timeline.N == 0 {
			p.Index = 0 // no timeline id has neither
		}
		if back, err := p.Cursor().Position(); err != nil || back != p {
			t.Fatalf("%+v -> %q -> %+v, %v", p, p.Cursor(), back, err)
		}
	})
}

// TestStatusJSON: all times of a status have one unit.
func TestStatusJSON(t *testing.T) {
	s := streamhub.Status{Space: "s", Segment: "g", TTL: 90 * time.Second, ExpiresAt: time.UnixMilli(1_700_000_000_000).UTC(), State: streamhub.StateOpen}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil || fields["ttl"] != 90_000.0 || fields["expires_at"] != 1_700_000_000_000.0 {
		t.Errorf("%s, %v", data, err)
	}
	var back streamhub.Status
	if err := json.Unmarshal(data, &back); err != nil || back != s {
		t.Errorf("%s -> %+v, %v", data, back, err)
	}
}

func TestTimelineID(t *testing.T) {
	order := []streamhub.TimelineID{{}, {MS: 1, N: 9}, {MS: 2}, {MS: 2, N: 1}}
	for i, id := range order {
		for j, other := range order {
			if got := id.Before(other); got != (i < j) {
				t.Errorf("%v before %v: %v", id, other, got)
			}
		}
	}
	if got := order[3].String(); got != "2-1" {
		t.Errorf("got %q", got)
	}
}
