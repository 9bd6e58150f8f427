package hotlog

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

var (
	//go:embed lua/head.lua
	headLua string
	//go:embed lua/tell.lua
	tellLua string
	//go:embed lua/known.lua
	knownLua string
	//go:embed lua/frames.lua
	framesLua string
	//go:embed lua/append.lua
	appendLua string
	//go:embed lua/short.lua
	shortLua string
	//go:embed lua/lone.lua
	loneLua string
	//go:embed lua/delete.lua
	deleteLua string
	//go:embed lua/trim.lua
	trimLua string
	//go:embed lua/touch.lua
	touchLua string
	//go:embed lua/prune.lua
	pruneLua string
	//go:embed lua/reign.lua
	reignLua string
	//go:embed lua/sweep.lua
	sweepLua string
	//go:embed lua/timeline.lua
	timelineLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/archived.lua
	archivedLua string
	//go:embed lua/commit.lua
	commitLua string
	//go:embed lua/move.lua
	moveLua string
	//go:embed lua/restore.lua
	restoreLua string
	//go:embed lua/resume.lua
	resumeLua string
	//go:embed lua/drop.lua
	dropLua string
	//go:embed lua/import.lua
	importLua string
	//go:embed lua/confirm.lua
	confirmLua string
	//go:embed lua/usage.lua
	usageLua string
)

// noticeBytes is the largest frame that travels inside its notification. On a cluster, where every
// node gets every notification, none does.
const noticeBytes = 4096

// appenderIdle is how long the row of an appender is kept after its last append.
const appenderIdle = 24 * time.Hour

// numbers are the names by which the scripts know the parts of heads, rows and frames, as meta.go and frame.go have
// them, and what else stands in several scripts. Lua counts from 1, and an end is inclusive.
var numbers = func() map[string]string {
	names := map[string]string{"HEAD_VERSION": fmt.Sprintf("'%c'", headLayout), "MANY_RECORDS": strconv.Itoa(manyRecords), "APPENDER_IDLE": strconv.FormatInt(appenderIdle.Milliseconds(), 10)}
	for _, p := range []struct {
		name     string
		from, to int
	}{
		{"LAYOUT", layoutAt, incarnationAt}, {"INCARNATION", incarnationAt, proofAt}, {"PROOF", proofAt, lineageAt},
		{"LINEAGE", lineageAt, stateAt}, {"STATE", stateAt, timedAt}, {"TIMED", timedAt, numbersAt}, {"NUMBERS", numbersAt, 0},
		{"ROW_ID", 0, rowDigestAt}, {"ROW_DIGEST", rowDigestAt, rowNumbersAt}, {"ROW_NUMBERS", rowNumbersAt, 0},
		{"FRAME_SUM", checksumOffset, idOffset}, {"FRAME_ID", idOffset, frameHeader}, {"FRAME_PROOF", proofOffset, frameHeader},
	} {
		names[p.name+"_AT"], names[p.name+"_END"] = strconv.Itoa(p.from+1), strconv.Itoa(p.to)
	}
	return names
}()

var capitals = regexp.MustCompile(`\b[A-Z]+_[A-Z_]+\b`)

// spell joins the texts of a script and puts numbers in the place of names: a local variable that holds one would be
// made again in every call, and once more for each function that uses it.
func spell(texts ...string) string { return spellWith(nil, texts...) }

// spellWith is spell with more names.
func spellWith(more map[string]string, texts ...string) string {
	return capitals.ReplaceAllStringFunc(strings.Join(texts, ""), func(name string) string {
		if number, ok := numbers[name]; ok {
			return number
		}
		if number, ok := more[name]; ok {
			return number
		}
		panic("hotlog: a script names " + name + ", which nothing defines")
	})
}

func (l *Log) loadScripts() {
	notices := map[string]string{"NOTICE_BYTES": strconv.Itoa(noticeBytes)}
	if l.conn.Cluster != nil {
		notices["NOTICE_BYTES"] = "0"
	}
	l.spellShort = func(lineage string) shortScripts {
		of := func(text string) *redisx.Script {
			if lineage != "" {
				text = "-- of lineage " + lineage + "\n" + asks.ReplaceAllString(text, "true")
			}
			return redisx.NewScript(spellWith(notices, text))
		}
		return shortScripts{lone: of(loneLua), many: of(tellLua + shortLua)}
	}
	l.short = l.spellShort("")
	l.append = redisx.NewScript(spellWith(notices, knownLua, headLua, reignLua, tellLua, framesLua, appendLua))
	l.remove = redisx.NewScript(spell(headLua, reignLua, deleteLua)).AllowOOM()
	l.trim = redisx.NewScript(spell(headLua, reignLua, trimLua)).AllowOOM()
	l.touch = redisx.NewScript(spell(headLua, touchLua))
	l.prune = redisx.NewScript(spell(pruneLua)).AllowOOM()
	l.sweep = redisx.NewScript(sweepLua).AllowOOM()
	l.trimTimeline = redisx.NewScript(timelineLua).AllowOOM()
	l.drop = redisx.NewScript(dropLua).AllowOOM()
	// Archiving makes room.
	l.claim = redisx.NewScript(claimLua).AllowOOM()
	l.commit = redisx.NewScript(spell(headLua, archivedLua, commitLua)).AllowOOM()
	l.move = redisx.NewScript(spell(headLua, archivedLua, moveLua)).AllowOOM()
	l.restore = redisx.NewScript(spell(headLua, restoreLua))
	l.resume = redisx.NewScript(resumeLua)
	l.imported = redisx.NewScript(spell(headLua, reignLua, importLua))
	l.touchHead = redisx.NewScript(spell(headLua, confirmLua))
	l.usage = redisx.NewScript(usageLua).AllowOOM()
}

// An answer of a script is "CODE rest". scriptError makes an error of those that more than one
// script gives; known is false for any other.
func scriptError(answer string) (err error, known bool) {
	code, rest, _ := strings.Cut(answer, " ")
	switch code {
	case "ABSENT":
		return streamhub.ErrNotFound, true
	case "GONE":
		return goneError(rest, false), true
	case "LAYOUT":
		return fmt.Errorf("%w: layout version %q, this program knows 1", streamhub.ErrCorrupt, rest), true
	case "OTHER", "LOST":
		return &streamhub.HistoryLostError{FirstLost: 1}, true
	}
	return fmt.Errorf("%w: a script answered %q", streamhub.ErrCorrupt, answer), false
}

// goneError returns the ErrNotFound of a segment that was deleted on purpose.
func goneError(verdict string, held bool) error {
	if v, err := parseVerdict(verdict); err == nil {
		return &streamhub.DeletedError{Verdict: *v, Held: held}
	}
	return streamhub.ErrNotFound
}

// runs is how often a script is loaded for one call: another client may flush all scripts meanwhile.
const runs = 16

// call runs a script. Its error is not yet one of package streamhub.
func (l *Log) call(ctx context.Context, script *redisx.Script, keys int, args ...any) (v any, err error) {
	for range runs {
		if v, err = l.conn.Run(ctx, script, keys, args...); !redisx.IsNoScript(err) {
			break
		}
	}
	return v, err
}

// run runs a script that answers with a text and is safe to repeat: a lost reply is asked for
// again.
func (l *Log) run(ctx context.Context, script *redisx.Script, keys int, args ...any) (string, error) {
	v, err := l.call(ctx, script, keys, args...)
	if err = redisx.Outcome(err); unknown(err) && ctx.Err() == nil {
		v, err = l.call(ctx, script, keys, args...)
		err = redisx.Unsure(redisx.Outcome(err))
	}
	if err != nil {
		return "", err
	}
	answer, ok := v.(string)
	if !ok || answer == "" {
		return "", streamhub.ErrCorrupt
	}
	return answer, nil
}
