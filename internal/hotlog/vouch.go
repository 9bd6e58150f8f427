package hotlog

import (
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A short call must find the lineage of its heads: a server with another lineage may have lost their last entries. INFO
// returns the lineage, but costs as much as storing the frame. A script whose text names the lineage is as good: it is
// loaded only on a primary that says to have that lineage, servers do not pass scripts on, and a restart loses them. So
// a promoted server does not know the text and answers NOSCRIPT, and the next call uses INFO.
//
// What is left is a primary that was demoted and promoted again without a restart: it still knows the text of its
// former reign. So the text counts for vouchAge after INFO was asked, and nothing takes a primary down and up again in
// that time.

// vouchAge is for how long after INFO the text of a script may stand for it.
const vouchAge = time.Second

// maxVouchers bounds how many lineages are remembered: one for each primary, and those that have ended.
const maxVouchers = 256

// asks is how lone.lua and short.lua ask for the lineage. The scripts of a voucher have true in its place; see
// loadScripts.
var asks = regexp.MustCompile(`reign\(\) == ARGV\[[^\]]+\]`)

// shortScripts are the scripts of the short way: for one frame, and for several.
type shortScripts struct {
	lone, many *redisx.Script
}

// A voucher has the short scripts of one lineage. What is not a script is guarded by vouchers.mu.
type voucher struct {
	shortScripts
	// asked is when the last call that asked for INFO, and was answered with the lineage, was made up.
	asked time.Time
	// loaded is true from when both scripts were loaded until a server did not know one of them.
	loaded bool
	// loading is true while a goroutine loads them: there is one at a time.
	loading bool
}

// vouchers has the vouchers of a process, one for each lineage that it has seen. They are safe for concurrent use.
type vouchers struct {
	// mu is taken after appender.mu where both are held.
	mu sync.Mutex
	of map[uint64]*voucher
}

// choose decides which script carries flights, which all go the short way: one that vouches for them, or one that
// asks. The flights keep the decision, because the voucher may have changed when their answer comes. Its time is from
// before the call, so vouchAge never counts from too late.
func (a *appender) choose(flights []*flight) {
	now := time.Now()
	v := &a.vouchers
	v.mu.Lock()
	one := v.of[flights[0].short.lineage]
	vouched := one != nil && one.loaded && now.Sub(one.asked) < vouchAge
	v.mu.Unlock()
	for _, f := range flights {
		f.vouched, f.chosen = vouched, now
	}
}

// script is the one that carries flights.
func (a *appender) script(flights []*flight) *redisx.Script {
	first, scripts := flights[0], a.log.short
	switch {
	case !first.isShort():
		return a.log.append
	case first.vouched:
		scripts = a.voucher(first.short.lineage).shortScripts
	}
	if len(flights) == 1 {
		return scripts.lone
	}
	return scripts.many
}

// voucher returns the voucher of a lineage.
func (a *appender) voucher(lineage uint64) *voucher {
	v := &a.vouchers
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.get(a.log, lineage)
}

func (v *vouchers) get(l *Log, lineage uint64) *voucher {
	one := v.of[lineage]
	if one == nil {
		// Any one may go: a lineage that still reigns has a voucher again with its next call, which asks.
		for old := range v.of {
			if len(v.of) < maxVouchers {
				break
			}
			delete(v.of, old)
		}
		one = &voucher{shortScripts: l.spellShort(hex16(lineage))}
		v.of[lineage] = one
	}
	return one
}

// vouch records that a script with INFO has found the lineage, and loads the scripts without INFO.
func (a *appender) vouch(flights []*flight, letters string) {
	first := flights[0]
	// A script that did not ask has found nothing out. So at least one call in each vouchAge asks.
	if first.vouched || !strings.ContainsAny(letters, "FL") || !a.log.conn.Lineages() {
		return
	}
	lineage, v := first.short.lineage, &a.vouchers
	v.mu.Lock()
	defer v.mu.Unlock()
	one := v.get(a.log, lineage)
	one.asked = first.chosen
	if one.loaded || one.loading {
		return
	}
	// The caller holds appender.mu, and loading takes a round trip. Until it is done, or if it fails, calls go on
	// asking.
	one.loading = a.log.tasks.Go(func() {
		loaded, err := a.log.conn.LoadFor(a.log.ctx, first.timeline(), hex16(lineage), one.lone, one.many)
		v.mu.Lock()
		defer v.mu.Unlock()
		one.loaded, one.loading = loaded && err == nil, false
	})
}

// disown sends flights again whose script the server does not know. It has run nothing, so this is no attempt.
// Without loaded they go with the script that asks. It runs under appender.mu.
func (a *appender) disown(flights []*flight) {
	one := a.voucher(flights[0].short.lineage)
	a.vouchers.mu.Lock()
	one.loaded = false
	a.vouchers.mu.Unlock()
	for _, f := range flights {
		a.enqueue(f)
	}
}
