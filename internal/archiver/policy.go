package archiver

import (
	"math"

	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A policy is a [tier.Policy] applied to what is in Redis. Times are Unix milliseconds of the clock
// of Redis, never of this machine: the timestamps of entries come from there.
type policy tier.Policy

// moves reports whether the policy has a rule.
func (p *policy) moves() bool { return p.Age > 0 || p.Idle > 0 || p.HotBytes > 0 }

// copyBound is the time up to which history is to be archived now, 0 for none. The shorter of Age and
// Idle decides: an entry must be archived before either rule can remove it. Archiving waits until the
// oldest entry is overdue by an eighth of the age, so that windows do not become tiny.
func (p *policy) copyBound(now, oldest int64) int64 {
	age := p.Age
	if p.Idle > 0 && (age == 0 || p.Idle < age) {
		age = p.Idle
	}
	if age == 0 || oldest > now-age.Milliseconds()-(age/8).Milliseconds() {
		return 0
	}
	return now - age.Milliseconds()
}

// cut returns which entries of h leave Redis now: those up to sequence upTo with timestamps up to
// until. An idle segment leaves whole, also the entries that KeepLast protects otherwise. upTo is
// never beyond what is archived. (0, 0) removes nothing.
func (p *policy) cut(h *hotlog.HotSegment, now int64, pressed bool) (upTo uint64, until int64) {
	if p.idleAt(h) <= now {
		return h.Archived, math.MaxInt64
	}
	upTo = p.movable(h)
	switch {
	// Under pressure the age does not matter: everything that is archived leaves, but for KeepLast.
	case pressed:
		return upTo, math.MaxInt64
	case p.Age > 0:
		return upTo, now - p.Age.Milliseconds()
	}
	return 0, 0
}

// due returns the time from which cut selects entries of h, and whether it also does so as soon as the space is
// pressed.
func (p *policy) due(h *hotlog.HotSegment) (at int64, pressed bool) {
	at = p.idleAt(h)
	if p.movable(h) < h.First {
		return at, false
	}
	if p.Age > 0 {
		at = min(at, h.FirstTimestamp+p.Age.Milliseconds())
	}
	return at, true
}

// movable returns the last sequence of h that may leave while h is not idle: it is archived and not protected by
// KeepLast. A result below h.First means that none may leave.
func (p *policy) movable(h *hotlog.HotSegment) uint64 {
	if h.Last <= p.KeepLast {
		return 0
	}
	return min(h.Archived, h.Last-p.KeepLast)
}

// idleAt returns when all entries of h leave because the segment is idle.
func (p *policy) idleAt(h *hotlog.HotSegment) int64 {
	if p.Idle <= 0 || h.Archived < h.First {
		return math.MaxInt64
	}
	return h.LastTimestamp + p.Idle.Milliseconds()
}

// pressed reports whether entries have to leave because of their size. It begins above three quarters
// of HotBytes and ends at a half. The gap keeps the archiver from toggling with every window.
func (p *policy) pressed(bytes int64, before bool) bool {
	limit := p.HotBytes / 4 * 3
	if before {
		limit = p.HotBytes / 2
	}
	return p.HotBytes > 0 && bytes > limit
}

// full reports whether the space accepts no more entries. It begins above seven eighths of HotBytes and ends at three
// quarters. The last eighth absorbs the appends of processes that do not know that state yet.
func (p *policy) full(bytes int64, before bool) bool {
	limit := p.HotBytes / 8 * 7
	if before {
		limit = p.HotBytes / 4 * 3
	}
	return p.HotBytes > 0 && bytes > limit
}
