// Package byhand is the append that a user would write instead of using streamhub: one script that compares the
// sequence, stores the entry under it, and notifies followers.
package byhand

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// KEYS are the head, the log and the channel of a segment, ARGV the expected sequence and the payload. The sequence "" stands
// for the next one. Returns the sequence of the entry, or SEQUENCE and the one that would have been right.
var script = redis.NewScript(`
local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
local next = string.format('%.0f', last + 1)
if ARGV[1] ~= '' and ARGV[1] ~= next then return redis.error_reply('SEQUENCE ' .. next) end
redis.call('XADD', KEYS[2], next .. '-0', 'd', ARGV[2])
redis.call('HSET', KEYS[1], 'last', next)
redis.call('PUBLISH', KEYS[3], next)
return next`)

// Load makes the script known to the server, which comes before the first append.
func Load(ctx context.Context, client redis.Scripter) error {
	return script.Load(ctx, client).Err()
}

// Append appends an entry to a segment. The sequence that the caller expects it to get may be "" for the next one.
func Append(ctx context.Context, client redis.Scripter, segment, expected string, payload []byte) error {
	return script.EvalSha(ctx, client, []string{"{" + segment + "}m", "{" + segment + "}s", "{" + segment + "}n"}, expected, payload).Err()
}
