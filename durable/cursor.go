package durable

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// A cursor is the number of a time interval. It is part of the URL, so a cache can share one answer among many readers,
// but no reader gets the same cached answer twice. The protocol defines interval, epoch and jitter.
const cursorInterval = 20 * time.Second

var cursorEpoch = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

// maxCursorJitter is an hour, in intervals.
const maxCursorJitter = int64(time.Hour / cursorInterval)

// nextCursor returns the cursor for a client that has sent the cursor had. It is always greater, even if the clocks of
// gateways differ.
func nextCursor(had string, at time.Time) string {
	current := int64(at.Sub(cursorEpoch) / cursorInterval)
	if v, err := strconv.ParseInt(had, 10, 62); err == nil && v >= current {
		current = v + 1 + rand.Int64N(maxCursorJitter)
	}
	return strconv.FormatInt(current, 10)
}

func jitter(most time.Duration) time.Duration { return rand.N(most) }
