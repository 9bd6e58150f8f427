package testredis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// declaredLua stands before every script. A server of a Cluster that a slot leaves refuses a command within a script
// if the key is not there, so two things are faults: a key that the script did not declare, and one that it deleted and
// touches again. A script whose keys are not all there does not run on such a server.
const declaredLua = `local redis = (function(real)
  local declared, logs, whole = {}, {}, true
  for _, key in ipairs(KEYS) do
    declared[key] = true
    if string.find(key, ':e:', 1, true) then logs[string.sub(key, 1, -17)] = true end
    whole = whole and real.call('EXISTS', key) == 1
  end
  local without = {INFO = true, PUBLISH = true, TIME = true}
  local many = {DEL = true, EXISTS = true, UNLINK = true}
  local function fault(what)
    real.call('SADD', '` + faultsKey + `', what)
    error(what)
  end
  local function guarded(call)
    return function(command, ...)
      command = string.upper(command)
      for i = 1, without[command] and 0 or many[command] and select('#', ...) or 1 do
        local key = select(i, ...)
        if not declared[key] and not logs[string.sub(key, 1, -17)] then fault(command .. ' of ' .. key .. ', which is not among KEYS') end
        if whole and real.call('EXISTS', key) == 0 then fault(command .. ' of ' .. key .. ', which the script has deleted') end
      end
      return call(command, ...)
    end
  end
  return setmetatable({call = guarded(real.call), pcall = guarded(real.pcall)}, {__index = real})
end)(redis)
`

const faultsKey = "sh:testredis:faults"

// DeclaredKeys returns a hook for clients of a server, which is no Cluster. It makes every script fail that touches a key which it did not
// declare, or which it has deleted, and the test with it: on a Cluster such a script would fail, half done, while its
// slot moves. Of a log that it declared it may touch another incarnation, as on one server the first append of a process does.
// The hook is safe for concurrent use.
func DeclaredKeys(tb testing.TB, server *redis.Options) redis.Hook {
	tb.Helper()
	tb.Cleanup(func() {
		client := redis.NewClient(server)
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		faults, err := client.SMembers(ctx, faultsKey).Result()
		if err != nil {
			tb.Errorf("testredis: the keys that scripts touched: %v", err)
		}
		for _, fault := range faults {
			tb.Errorf("testredis: a script: %s", fault)
		}
	})
	return &declaredKeys{guarded: map[string]string{}}
}

type declaredKeys struct {
	mu      sync.Mutex
	guarded map[string]string // sha of a script -> that of the guarded one
}

func (d *declaredKeys) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *declaredKeys) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		d.replace(cmd)
		return next(ctx, cmd)
	}
}

func (d *declaredKeys) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			d.replace(cmd)
		}
		return next(ctx, cmds)
	}
}

// replace puts the guarded script in the place of the one that cmd loads or runs. One that was loaded without the hook
// is not found, so the caller loads it.
func (d *declaredKeys) replace(cmd redis.Cmder) {
	args := cmd.Args()
	if len(args) < 3 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch name, _ := args[0].(string); strings.ToLower(name) {
	case "script":
		if text, ok := args[2].(string); ok && args[1] == "load" {
			args[2] = d.guard(text)
		}
	case "eval":
		if text, ok := args[1].(string); ok {
			args[1] = d.guard(text)
		}
	case "evalsha":
		sha, _ := args[1].(string)
		guarded, known := d.guarded[sha]
		switch {
		case known:
			args[1] = guarded
		case !d.isGuarded(sha):
			args[1] = strings.Repeat("0", 2*sha1.Size)
		}
	}
}

func (d *declaredKeys) isGuarded(sha string) bool {
	for _, guarded := range d.guarded {
		if guarded == sha {
			return true
		}
	}
	return false
}

func (d *declaredKeys) guard(text string) string {
	if strings.Contains(text, declaredLua) {
		return text // it is sent again
	}
	guarded := declaredLua + text
	if first, rest, header := strings.Cut(text, "\n"); header && strings.HasPrefix(first, "#!") {
		guarded = first + "\n" + declaredLua + rest
	}
	d.guarded[shaOf(text)] = shaOf(guarded)
	return guarded
}

func shaOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}
