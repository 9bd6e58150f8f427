// Package millis is the one place where a [time.Time] of the public API becomes the integer that the wire and Redis hold,
// and back. Both keep milliseconds since 1970 in UTC.
package millis

import (
	"math"
	"time"
)

// latest is the last time whose milliseconds an int64 holds.
var latest = time.UnixMilli(math.MaxInt64)

// Of returns t in Unix milliseconds, and 0 for the zero Time. It rounds down, also before 1970, and clamps what an int64
// cannot hold. As 0 means none, the first millisecond of 1970 becomes the one before it: no entry is that old, so a bound
// there keeps its meaning.
func Of(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if !t.Before(latest) {
		return math.MaxInt64
	}
	if t.Before(time.UnixMilli(math.MinInt64)) {
		return math.MinInt64
	}
	if ms := t.UnixMilli(); ms != 0 {
		return ms
	}
	return -1
}

// Time is the inverse of [Of]. The result is in UTC and has no location of its own, so that two equal times are equal with
// == and [reflect.DeepEqual] too.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
