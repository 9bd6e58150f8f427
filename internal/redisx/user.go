package redisx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

const (
	keyRule     = "~sh:*"
	channelRule = "&sh:*"
)

// UserRule is the rule for ACL SETUSER with all rights that a hub needs. It works with every version. Durability with
// Fsync also needs [UserRuleFsync].
const UserRule = "resetkeys resetchannels " + keyRule + " " + channelRule + " -@all " +
	"+eval +evalsha +script|load " +
	"+xadd +xrange +xrevrange +xtrim +xdel " +
	"+hget +hset +hsetnx +hmget +hgetall +hdel +get +set +del +unlink +exists +pexpire +pttl " +
	"+zadd +zrem +zscore +zrangebylex +zrangebyscore +zremrangebyscore +sadd +srem +scard +smembers +sscan " +
	"+publish +subscribe +unsubscribe +ping +hello +info +wait +time +select +client|setname"

// UserRuleFsync has the rights that Durability with Fsync needs in addition to [UserRule], on Redis 7.2 and later and
// on Valkey. Redis 7.0 does not know WAITAOF and would refuse the whole line.
const UserRuleFsync = "+waitaof +config|get"

// UserRuleQuota has the rights that a quota of stores needs in addition to [UserRule].
const UserRuleQuota = "+memory|usage"

// UserRuleCluster has the rights that a cluster needs in addition to [UserRule].
const UserRuleCluster = "+cluster|slots +cluster|shards +readonly +asking"

// A need is a call that the user of a hub must be allowed to make.
type need struct {
	command  string // as ACL SETUSER names it
	call     string // the command with arguments, separated by spaces
	optional bool   // only a level of durability, a quota or a cluster needs it
}

var needs = func() (all []need) {
	// The rule allows these names. judge finds out with them whether keys or channels are denied.
	const key, channel = "sh:{x}:x", "sh:{x}:n"
	for command, rest := range map[string]string{
		"evalsha": "x 1 " + key, "xadd": key + " * f v", "xrange": key + " - +", "xrevrange": key + " + -", "xtrim": key + " MAXLEN 1", "xdel": key + " 1-1",
		"hget": key + " f", "hset": key + " f v", "hsetnx": key + " f v", "hmget": key + " f", "hgetall": key, "hdel": key + " f",
		"get": key, "set": key + " v", "del": key, "unlink": key, "exists": key, "pexpire": key + " 1", "pttl": key,
		"zadd": key + " 1 m", "zrem": key + " m", "zscore": key + " m", "zrangebylex": key + " - +", "zrangebyscore": key + " 0 1", "zremrangebyscore": key + " 0 1",
		"sadd": key + " m", "srem": key + " m", "scard": key, "smembers": key, "sscan": key + " 0",
		"publish": channel + " m", "subscribe": channel, "unsubscribe": channel, "ping": "", "info": "", "time": "",
	} {
		all = append(all, need{command, strings.TrimSpace(command + " " + rest), false})
	}
	slices.SortFunc(all, func(a, b need) int { return strings.Compare(a.command, b.command) })
	return append(all, need{"script|load", "script load x", false},
		need{"wait", "wait 1 1", true}, need{"waitaof", "waitaof 1 0 1", true}, need{"config|get", "config get appendfsync", true},
		need{"memory|usage", "memory usage " + key, true}, need{"asking", "asking", true})
}()

// lookLua answers with the version of the Lua of miniredis, empty on a real server. For each call of ARGV that the user
// cannot make, "-<number>" follows, or "!<number>" if the server does not know the command. It runs in every state in
// which a server runs scripts at all, and writes nothing.
const lookLua = `local out = {rawget(_G, '_GOPHER_LUA_VERSION') or ''}
local may = redis.acl_check_cmd
if may then
  for i, call in ipairs(ARGV) do
    local words = {}
    for word in string.gmatch(call, '%S+') do words[#words + 1] = word end
    local known, allowed = pcall(may, unpack(words))
    if not known then out[#out + 1] = '!' .. i elseif not allowed then out[#out + 1] = '-' .. i end
  end
end
return out`

// judge evaluates the answer of lookLua. It returns an error if the user or the server lacks a command that every hub
// needs.
func (s *Server) judge(answer []string) error {
	var denied, absent []string
	var keys, channels bool
	for _, a := range answer {
		var i int
		if _, err := fmt.Sscanf(a[1:], "%d", &i); err != nil || i < 1 || i > len(needs) {
			return fmt.Errorf("%w: a look at the server answered %q", streamhub.ErrCorrupt, a)
		}
		n := needs[i-1]
		switch {
		case n.optional:
			s.lacks = append(s.lacks, n.command)
			if a[0] == '!' {
				s.unknown = append(s.unknown, n.command)
			}
		case a[0] == '!':
			absent = append(absent, strings.ToUpper(n.command))
		default:
			denied = append(denied, n.command)
			keys = keys || strings.Contains(n.call, "sh:{x}:x")
			channels = channels || strings.Contains(n.call, "sh:{x}:n")
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("%w: the server does not know %s; a hub needs every command under its own name: remove rename-command from the configuration of the server",
			streamhub.ErrInvalidArgument, strings.Join(absent, ", "))
	}
	if len(denied) == 0 {
		return nil
	}
	var rule []string
	if keys {
		rule = append(rule, keyRule)
	}
	if channels {
		rule = append(rule, channelRule)
	}
	for _, command := range denied {
		rule = append(rule, "+"+command)
	}
	return lacking(s.user, strings.Join(rule, " "), denied...)
}

// lacking returns the error for a user that may not run commands; rule is the ACL rule that grants them.
func lacking(user, rule string, commands ...string) error {
	return &streamhub.UnavailableError{Reason: streamhub.ReasonDenied, Err: &rightsError{user, commands, grant(user, rule)}}
}

// grant returns the command that gives a user the rights of a rule.
func grant(user, rule string) string { return "ACL SETUSER " + user + " " + rule }

// A rightsError names the missing rights of a user of Redis. Its cure replaces the general one of an
// [streamhub.UnavailableError], so that the command to run is the end of the text and can be pasted.
type rightsError struct {
	user     string
	commands []string
	cure     string
}

func (e *rightsError) Error() string {
	return fmt.Sprintf("the user %q may not run %s on keys and channels sh:*", e.user, strings.Join(e.commands, ", "))
}

// Cure returns the command that grants the missing rights.
func (e *rightsError) Cure() string { return "run " + e.cure }

// userOf returns the name of the user of a client.
func userOf(client redis.UniversalClient) string {
	name := ""
	switch c := client.(type) {
	case *redis.Client:
		name = c.Options().Username
	case *redis.ClusterClient:
		name = c.Options().Username
	}
	if name == "" {
		return "default"
	}
	return name
}
