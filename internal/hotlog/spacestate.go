package hotlog

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A spaceState is the state of a timeline from the hash of the space.
type spaceState struct {
	// start is where the timeline began, zero if that is not known, first the first place of it that
	// Redis keeps. If archived is set, what lies between them is in the archive.
	start, first streamhub.TimelineID
	archived     bool
	// begin is the segment and the reference of the first change at start, "" if that is not known.
	begin string
	// swept is the last place that a sweep has removed, trimmed the last change among those removed
	// whose entries were trimmed while their segment lived.
	swept   streamhub.TimelineID
	trimmed change
	reigns  []spaceReign // newest first
}

// A spaceReign is one lineage and the last place of the timeline when it began.
type spaceReign struct {
	lineage uint64
	after   streamhub.TimelineID
}

// stateFields are read together; parseSpaceState takes them in this order.
var stateFields = []string{"s", "f", "a", "w", "t", "g", "b"}

func (l *Log) spaceState(ctx context.Context, k spaceKeys) (spaceState, error) {
	values, err := l.conn.HMGet(ctx, k.state(), stateFields...).Result()
	if err != nil {
		return spaceState{}, redisx.ReadOutcome(err)
	}
	return parseSpaceState(values)
}

func parseSpaceState(values []any) (s spaceState, err error) {
	text := func(i int) string { v, _ := values[i].(string); return v }
	trimmed, place, _ := strings.Cut(text(4), " ")
	for _, field := range []struct {
		text string
		into *streamhub.TimelineID
	}{{text(0), &s.start}, {text(1), &s.first}, {text(3), &s.swept}, {trimmed, &s.trimmed.id}} {
		if field.text != "" {
			if *field.into, err = parseTimelineID(field.text); err != nil {
				return s, err
			}
		}
	}
	s.begin = text(6)
	if s.first.IsZero() {
		s.first = s.start
	}
	a := text(2)
	s.archived = a != "" && !strings.HasPrefix(a, noPosition)
	if place != "" {
		var index uint64
		if err = parseNumbers(place, &index, &s.trimmed.last); err != nil {
			return s, err
		}
		s.trimmed.index = uint32(index)
	}
	for _, pair := range strings.Fields(text(5)) {
		lineage, after, _ := strings.Cut(pair, ":")
		var r spaceReign
		if r.lineage, err = parseHex16(lineage); err != nil {
			break // the list was cut to its length in the middle of a pair
		}
		if r.after, err = parseTimelineID(after); err != nil {
			break
		}
		s.reigns = append(s.reigns, r)
	}
	return s, nil
}

// place is the form in which the script of the sweep keeps a change; "" if there is none.
func (c *change) place() string {
	if c.id.IsZero() {
		return ""
	}
	return c.id.String() + " " + strconv.FormatUint(uint64(c.index), 10) + " " + strconv.FormatUint(c.last, 10)
}

// lineageAt returns the lineage that wrote a place of the timeline, 0 if that is not known.
func (s *spaceState) lineageAt(id streamhub.TimelineID) uint64 {
	for _, r := range s.reigns {
		if r.after.Before(id) {
			return r.lineage
		}
	}
	return 0
}

// lost reports whether a place that was written in the reign of lineage was lost: a later reign began
// before it. A lineage that is not in the list is older than all of them.
func (s *spaceState) lost(lineage uint64, id streamhub.TimelineID) bool {
	if lineage == 0 {
		return false
	}
	later := slices.IndexFunc(s.reigns, func(r spaceReign) bool { return r.lineage == lineage })
	if later < 0 {
		later = len(s.reigns)
	}
	return later > 0 && s.reigns[later-1].after.Before(id)
}
