package durable

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// A cursor is the number of a time interval. A cache can then share one answer among many readers, and no reader
// gets the same cached answer twice. Interval, epoch and jitter are those of the protocol.
const cursorInterval = 20 * time.Second

var cursorEpoch = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

// maxCursorJitter is an hour.
const maxCursorJitter = int64(time.Hour / cursorInterval)

// nextCursor answers a client that has a cursor. It never goes back, whatever the clocks of other
// gateways say.
func nextCursor(had string, at time.Time) string {
	current := int64(at.Sub(cursorEpoch) / cursorInterval)
	if v, err := strconv.ParseInt(had, 10, 62); err == nil && v >= current {
		current = v + 1 + rand.Int64N(maxCursorJitter)
	}
	return strconv.FormatInt(current, 10)
}

func jitter(most time.Duration) time.Duration { return rand.N(most) }
