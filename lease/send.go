package lease

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

var (
	//go:embed lua/value.lua
	valueLua string
	//go:embed lua/acquire.lua
	acquireLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/release.lua
	releaseLua string
	//go:embed lua/peek.lua
	peekLua string
	//go:embed lua/note.lua
	noteLua string

	// A Redis that is out of memory accepts no new leases, but held leases can be renewed and released.
	acquireScript = redisx.NewScript(valueLua + acquireLua)
	renewScript   = redisx.NewScript(valueLua + renewLua).AllowOOM()
	releaseScript = redisx.NewScript(valueLua + releaseLua).AllowOOM()
	peekScript    = redisx.NewScript(valueLua + peekLua).NoWrites()
	noteScript    = redisx.NewScript(noteLua)
)

const (
	attempts   = 5
	firstPause = 5 * time.Millisecond
)

// A reply is what a script returned, and when the attempt was sent that it answers.
type reply struct {
	status string
	token  uint64
	holder string
	left   time.Duration
	sent   time.Time
	// again says that an earlier attempt may have run too.
	again bool
}

// send runs a script that is safe to run twice, and runs it again if its reply was lost. If no attempt was answered and
// one of them may have run, the outcome is unknown.
func (m *Manager) send(ctx context.Context, s *redisx.Script, n name, args ...any) (reply, error) {
	conn, err := m.connect(ctx)
	if err != nil {
		return reply{}, err
	}
	args = append([]any{n.lease(), n.counter()}, args...)
	var failed error
	for attempt := range attempts {
		if attempt > 0 && !pause.For(ctx, pause.Jitter(firstPause<<attempt)) {
			break
		}
		if err := ctx.Err(); err != nil {
			failed = worse(failed, err)
			break
		}
		sent := time.Now()
		v, err := conn.Run(ctx, s, 2, args...)
		if err == nil {
			r, err := parse(v)
			r.sent, r.again = sent, errors.Is(failed, streamhub.ErrUnknownOutcome)
			return r, err
		}
		if redis.HasErrorPrefix(err, "CORRUPT") {
			return reply{}, fmt.Errorf("%w: %w", streamhub.ErrCorrupt, err)
		}
		err = redisx.Outcome(err)
		failed = worse(failed, err)
		if !pause.Worthwhile(err) {
			break
		}
	}
	return reply{}, failed
}

// parse reads {status, token, holder, left}. The last elements may be missing.
func parse(v any) (reply, error) {
	var fields [4]string
	list, _ := v.([]any)
	for i := range min(len(list), len(fields)) {
		fields[i], _ = list[i].(string)
	}
	r := reply{status: fields[0], holder: fields[2]}
	var token, left error
	if len(list) > 1 {
		r.token, token = strconv.ParseUint(fields[1], 10, 53)
	}
	if len(list) > 3 {
		var ms int64
		ms, left = strconv.ParseInt(fields[3], 10, 64)
		r.left = time.Duration(ms) * time.Millisecond
	}
	if r.status == "" || token != nil || left != nil {
		return reply{}, fmt.Errorf("%w: a lease script returned %.100q", streamhub.ErrCorrupt, v)
	}
	return r, nil
}

// worse joins the errors of two attempts, the later one second. An unknown outcome of one attempt stays unknown, even
// if the other did nothing.
func worse(first, second error) error {
	if errors.Is(first, streamhub.ErrUnknownOutcome) {
		return redisx.Unsure(second)
	}
	return second
}
