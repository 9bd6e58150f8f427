package hotlog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// A timelineID is the id of an entry of a timeline: "<ms>-<n>".
type timelineID struct {
	ms, n uint64
}

func parseTimelineID(s string) (id timelineID, err error) {
	ms, n, ok := strings.Cut(s, "-")
	if id.ms, err = strconv.ParseUint(ms, 10, 64); err == nil && ok {
		id.n, err = strconv.ParseUint(n, 10, 64)
	}
	if err != nil || !ok {
		return id, fmt.Errorf("%w: timeline id %q", streamhub.ErrCorrupt, s)
	}
	return id, nil
}

func (id timelineID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.n, 10)
}

func (id timelineID) before(other timelineID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.n < other.n
}

func (id timelineID) isZero() bool { return id == timelineID{} }

// A change is what one timeline entry says of one segment.
type change struct {
	id      timelineID
	index   uint32
	segment string // escaped
	kind    changeKind
	// last is the last sequence of the segment then, records how many came with the change.
	// For changeTrim last is the first sequence kept.
	last, records uint64
}

type changeKind byte

const (
	changeAppend changeKind = 'a'
	changeCreate changeKind = 'n'
	changeClose  changeKind = 'c'
	changeDelete changeKind = 'd'
	changeTrim   changeKind = 't'
)

func (c *change) first() uint64 { return c.last - c.records + 1 }

// parseChange reads a reference: an optional letter, the sequence, and ":" with the number of
// records unless it is the usual one.
func parseChange(segment, ref string) (c change, err error) {
	c.segment, c.kind = segment, changeAppend
	if ref != "" && ref[0] > '9' {
		switch c.kind = changeKind(ref[0]); c.kind {
		case changeCreate, changeClose, changeDelete, changeTrim:
			ref = ref[1:]
		}
	}
	last, records, counted := strings.Cut(ref, ":")
	if c.last, err = strconv.ParseUint(last, 10, 63); err == nil {
		if counted {
			c.records, err = strconv.ParseUint(records, 10, 31)
		} else if c.kind == changeAppend {
			c.records = 1
		}
	}
	if err != nil || c.records > c.last {
		return c, fmt.Errorf("%w: timeline reference %q", streamhub.ErrCorrupt, ref)
	}
	return c, nil
}
