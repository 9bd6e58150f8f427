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
