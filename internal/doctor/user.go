package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// The key has the prefix of a hub, so that the rule for its user allows it, and a hash tag that no
// store has.
const (
	probeKey     = "sh:{doctor}:probe"
	probeChannel = "sh:{doctor}:n"
	slow         = 10 * time.Millisecond
)

// probe calls every command that the scripts of a hub call, on a key of its own. TestRuleIsWhole
// compares it with the scripts.
const probe = `
redis.call('TIME')
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[1], '1-0', 'd', 'x')
redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
redis.call('XDEL', KEYS[1], '1-0')
redis.call('XTRIM', KEYS[1], 'MINID', '2-0')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'a', '1')
redis.call('HSETNX', KEYS[1], 'a', '1')
redis.call('HGET', KEYS[1], 'a')
redis.call('HMGET', KEYS[1], 'a')
redis.call('HGETALL', KEYS[1])
redis.call('HDEL', KEYS[1], 'a')
redis.call('ZADD', KEYS[1], 0, 'a')
redis.call('ZSCORE', KEYS[1], 'a')
redis.call('ZRANGEBYLEX', KEYS[1], '-', '+')
redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '-inf')
redis.call('ZREM', KEYS[1], 'a')
redis.call('SADD', KEYS[1], 'a')
redis.call('SCARD', KEYS[1])
redis.call('SMEMBERS', KEYS[1])
redis.call('SSCAN', KEYS[1], '0')
redis.call('SREM', KEYS[1], 'a')
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('GET', KEYS[1])
redis.call('PEXPIRE', KEYS[1], 1000)
redis.call('PTTL', KEYS[1])
redis.call('EXISTS', KEYS[1])
redis.call('UNLINK', KEYS[1])
redis.call('PUBLISH', ARGV[1], '')
return 1`

// abilities does once what a hub does all the time.
func abilities(ctx context.Context, client redis.UniversalClient) Check {
	const name = "commands"
	if err := client.ScriptLoad(ctx, probe).Err(); err != nil { // on every primary of a cluster
		return denied(name, err)
	}
	if err := redis.NewScript(probe).EvalSha(ctx, client, []string{probeKey}, probeChannel).Err(); err != nil {
		return denied(name, err)
	}
	return Check{Level: OK, Name: name, Detail: "scripts may do what a hub needs"}
}

// messages subscribes, publishes and waits for its own message: a proxy in between may let commands
// pass, but not messages.
func messages(ctx context.Context, client redis.UniversalClient) Check {
	const name = "pub/sub"
	sub := client.Subscribe(ctx, probeChannel)
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		return denied(name, err)
	}
	if err := client.Publish(ctx, probeChannel, "").Err(); err != nil {
		return denied(name, err)
	}
	if _, err := sub.ReceiveMessage(ctx); err != nil {
		return Check{Warn, name, "a message did not arrive: " + err.Error(), "followers still work, but learn of new entries up to 5 s late; look at what lies between"}
	}
	return Check{Level: OK, Name: name, Detail: "messages arrive"}
}

// denied is the finding for a command that the server refuses.
func denied(name string, err error) Check {
	return Check{Fail, name, err.Error(), "give the user what a hub needs: ACL SETUSER <user> " + redisx.UserRule}
}

// power looks for a user that may do more than a hub needs.
func power(ctx context.Context, client redis.UniversalClient, address string) Check {
	const name = "acl"
	user, err := client.Do(ctx, "acl", "whoami").Text()
	if err != nil {
		return Check{Level: OK, Name: name, Detail: "the user may not look at its own rights"}
	}
	rights, err := client.Do(ctx, "acl", "getuser", user).Result()
	if err != nil {
		return Check{Level: OK, Name: name, Detail: fmt.Sprintf("user %s, which may not look at its own rights", user)}
	}
	flags, commands := userRights(rights)
	cure := "make a user for the hub: ACL SETUSER streamhub on >PASSWORD " + redisx.UserRule
	switch {
	case slices.Contains(flags, "nopass") && !local(address):
		return Check{Fail, name, fmt.Sprintf("user %s has no password, and others reach this server", user), cure}
	case strings.HasPrefix(commands, "+@all"):
		return Check{Warn, name, fmt.Sprintf("user %s may do everything (%s)", user, commands), cure}
	}
	return Check{Level: OK, Name: name, Detail: "user " + user}
}

// userRights reads the answer to ACL GETUSER, which is a map in RESP3 and a flat list in RESP2.
func userRights(answer any) (flags []string, commands string) {
	fields := map[string]any{}
	switch v := answer.(type) {
	case map[any]any:
		for key, value := range v {
			fields[fmt.Sprint(key)] = value
		}
	case []any:
		for i := 0; i+1 < len(v); i += 2 {
			fields[fmt.Sprint(v[i])] = v[i+1]
		}
	}
	if list, ok := fields["flags"].([]any); ok {
		for _, flag := range list {
			flags = append(flags, fmt.Sprint(flag))
		}
	}
	commands, _ = fields["commands"].(string)
	return flags, commands
}

// AddressOf is the URL of the server that client reaches, without user and password.
func AddressOf(client redis.UniversalClient) string {
	address, secure := "", false
	switch c := client.(type) {
	case *redis.Client:
		address, secure = c.Options().Addr, c.Options().TLSConfig != nil
		if c.Options().Network == "unix" {
			return "unix://" + address
		}
	case *redis.ClusterClient:
		address, secure = strings.Join(c.Options().Addrs, ","), c.Options().TLSConfig != nil
	}
	if secure {
		return "rediss://" + address
	}
	return "redis://" + address
}

// transport looks at how the server is reached.
func transport(address string) Check {
	const name = "transport"
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return Check{Fail, name, "the URL cannot be parsed", "write redis://user:password@host:port"}
	case u.Scheme == "rediss" || u.Query().Get("tls") == "true":
		if u.Query().Get("skip_verify") == "true" {
			return Check{Warn, name, "TLS, but the certificate is not verified", "drop skip_verify from the URL"}
		}
		return Check{Level: OK, Name: name, Detail: "TLS"}
	case u.Scheme == "unix":
		return Check{Level: OK, Name: name, Detail: "unix socket"}
	case local(address):
		return Check{Level: OK, Name: name, Detail: "loopback"}
	}
	return Check{Warn, name, "passwords and payloads travel in the clear", "use rediss://, or tls=true with cluster and sentinel URLs"}
}

// local reports whether the server is reached without leaving this machine.
func local(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	if u.Scheme == "unix" {
		return true
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = strings.Trim(host, "[]")
		}
		if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// cluster compares what the server is with what the URL says.
func cluster(ctx context.Context, client redis.UniversalClient, clustered bool, n *node) Check {
	const name = "cluster"
	if n.info["cluster_enabled"] != "1" {
		if clustered {
			return Check{Fail, name, "the URL names a cluster, the server is none", "write redis:// instead of redis+cluster://"}
		}
		return Check{Level: OK, Name: name, Detail: "none"}
	}
	if !clustered {
		return Check{Fail, name, "the server is a node of a cluster", "write redis+cluster://host:port,host:port"}
	}
	text, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return Check{Warn, name, err.Error(), "the user of the hub needs +cluster|info, +cluster|slots and +cluster|shards"}
	}
	for line := range strings.Lines(text) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster_state:"); ok && state != "ok" {
			return Check{Fail, name, "state " + state, "some slots are not served: see CLUSTER SLOTS and the logs of the nodes"}
		}
	}
	return Check{Level: OK, Name: name, Detail: "every slot is served"}
}

// latency times call.
func latency(ctx context.Context, calls int, name string, call func(context.Context) error) Check {
	times := make([]time.Duration, 0, calls)
	for range calls {
		begin := time.Now()
		if err := call(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return Check{Fail, name, fmt.Sprintf("%d calls took %v", len(times), checkTime), "look for slow commands (SLOWLOG GET) and at the network"}
			}
			return denied(name, err)
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	p50, p99 := times[calls/2], times[calls*99/100]
	c := Check{Level: OK, Name: name, Detail: fmt.Sprintf("p50 %v, p99 %v", p50.Round(time.Microsecond), p99.Round(time.Microsecond))}
	if p99 > slow {
		c.Level, c.Cure = Warn, "look for slow commands (SLOWLOG GET), swapping (redis-cli --latency) and the network"
	}
	return c
}
