package follow

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

var (
	//go:embed lua/workers.lua
	workersLua string
	//go:embed lua/join.lua
	joinLua string
	//go:embed lua/leave.lua
	leaveLua string
	//go:embed lua/list.lua
	listLua string

	// A Redis that is out of memory accepts no new workers, but workers can leave.
	joinScript  = redisx.NewScript(workersLua + joinLua)
	leaveScript = redisx.NewScript(workersLua + leaveLua).AllowOOM()
	listScript  = redisx.NewScript(workersLua + listLua).NoWrites()
)

// workersKey is the hash of the workers of a store. All keys of a store's presence share one hash tag.
func workersKey(store uuid.UUID) string { return "sh:{" + store.String() + "}:w" }

func workersChannel(store uuid.UUID) string { return workersKey(store) + ":n" }

// sendAttempts is how often a script is sent if its reply is lost.
const sendAttempts = 4

// send runs a presence script. Each is idempotent, so after a lost reply it is sent again.
func (w *Watcher) send(ctx context.Context, s *redisx.Script, store uuid.UUID, args ...any) (any, error) {
	args = append([]any{workersKey(store), workersKey(store) + ":m"}, args...)
	var failed error
	var between = pauses()
	for range sendAttempts {
		v, err := w.conn.Run(ctx, s, 2, args...)
		if err == nil {
			return v, nil
		}
		if redis.HasErrorPrefix(err, "CORRUPT") {
			return nil, fmt.Errorf("%w: %w", streamhub.ErrCorrupt, err)
		}
		failed = redisx.Outcome(err)
		if !errors.Is(failed, streamhub.ErrUnknownOutcome) || ctx.Err() != nil || !between.Wait(ctx) {
			break
		}
	}
	return nil, failed
}

// parseWorkers reads what list.lua returns.
func parseWorkers(v any) ([]streamhub.Worker, error) {
	list, _ := v.([]any)
	workers := make([]streamhub.Worker, 0, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		id, _ := list[i].(string)
		value, _ := list[i+1].(string)
		worker, err := parseWorker(id, value)
		if err != nil {
			return nil, err
		}
		workers = append(workers, worker)
	}
	return workers, nil
}

func parseWorker(id, value string) (worker streamhub.Worker, err error) {
	corrupt := fmt.Errorf("%w: worker %.80q is %.80q", streamhub.ErrCorrupt, id, value)
	fields := strings.SplitN(value, " ", 4)
	if len(fields) != 4 || fields[0] != "1" {
		return worker, corrupt
	}
	if worker.ID, err = uuid.Parse(id); err != nil {
		return worker, corrupt
	}
	seen, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return worker, corrupt
	}
	worker.LastSeen = millis.Time(seen)
	if err := json.Unmarshal([]byte(fields[3]), &worker.Metadata); err != nil {
		return worker, corrupt
	}
	return worker, nil
}
