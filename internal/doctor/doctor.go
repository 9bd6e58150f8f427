// Package doctor looks at a Redis and tells what keeps a hub from relying on it.
//
// It changes nothing for others: what it writes is one key of its own, sh:{doctor}:probe, for a
// moment.
package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A Level says how bad a finding is. Its text is what the command prints and what its JSON holds.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // it works; under some condition data or time is lost
	Fail Level = "fail" // a hub refuses this server or loses data on it
)

// A Check is one finding.
type Check struct {
	Level  Level  `json:"level"`
	Name   string `json:"name"`
	Detail string `json:"detail"`
	Cure   string `json:"cure,omitempty"` // empty if there is nothing to cure
}

func (c Check) String() string {
	line := string(c.Level) + "  " + c.Name + "  " + c.Detail
	if c.Cure != "" {
		line += "  → " + c.Cure
	}
	// A server's own words are in it.
	return strings.Join(strings.FieldsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

// checkTime bounds each check.
const checkTime = 10 * time.Second

// greetingTime is how long a server that closes connections may take to say why.
const greetingTime = 500 * time.Millisecond

// A node is one server that takes writes. info holds the fields of INFO, none if the server does not
// tell them.
type node struct {
	client redis.UniversalClient
	name   string // of a node of a cluster, else empty
	info   map[string]string
}

// Calls is how many calls each of the two latencies is measured with by default.
const Calls = 200

// Examine checks the Redis behind client, which address is the URL of. It measures each latency with
// so many calls, at least one, and makes some thirty others for each server. It ends early if nothing
// answers. Each check has a time limit of its own, so that one that hangs does not hide the findings
// after it.
func Examine(ctx context.Context, client redis.UniversalClient, address string, calls int) iter.Seq[Check] {
	return func(yield func(Check) bool) {
		within := func(check func(context.Context) Check) bool {
			ctx, cancel := context.WithTimeout(ctx, checkTime)
			defer cancel()
			return yield(check(ctx))
		}
		ok := true
		if !within(func(ctx context.Context) Check {
			c := connection(ctx, client)
			ok = c.Level == OK
			return c
		}) || !ok {
			return
		}
		if !yield(transport(address)) {
			return
		}
		nodes, err := primaries(ctx, client)
		if err != nil {
			yield(Check{Fail, "cluster", err.Error(), "check that every primary of the cluster answers"})
			return
		}
		for _, n := range nodes {
			for _, check := range []func(context.Context, *node) Check{
				version, eviction, persistence, replication, clock, memory, streams,
			} {
				if !within(func(ctx context.Context) Check { return n.named(check(ctx, n)) }) {
					return
				}
			}
		}
		_, clustered := client.(*redis.ClusterClient)
		for _, check := range []func(context.Context) Check{
			func(ctx context.Context) Check { return cluster(ctx, client, clustered, nodes[0]) },
			func(ctx context.Context) Check { return opens(ctx, client) },
			func(ctx context.Context) Check { return abilities(ctx, client) },
			func(ctx context.Context) Check { return messages(ctx, client) },
			func(ctx context.Context) Check { return power(ctx, client, address) },
			func(ctx context.Context) Check {
				return latency(ctx, calls, "latency ping", func(ctx context.Context) error { return client.Ping(ctx).Err() })
			},
			func(ctx context.Context) Check {
				return latency(ctx, calls, "latency script", func(ctx context.Context) error {
					return client.Eval(ctx, "return 1", []string{probeKey}).Err()
				})
			},
		} {
			if !within(check) {
				return
			}
		}
	}
}

// opens tries what a hub does when it opens. Its error says what to do.
func opens(ctx context.Context, client redis.UniversalClient) Check {
	const name = "hub"
	_, err := redisx.Open(ctx, client, &redisx.Options{Check: (*redisx.Server).CheckEviction})
	if err != nil {
		return Check{Fail, name, err.Error(), "a hub does not open this Redis; do what the error says"}
	}
	return Check{Level: OK, Name: name, Detail: "a hub opens this Redis"}
}

// named adds the name of the node to a finding, where there are several nodes.
func (n *node) named(c Check) Check {
	if n.name != "" {
		c.Name += " " + n.name
	}
	return c
}

// connection tells why nothing answers; every other check would only repeat that.
func connection(ctx context.Context, client redis.UniversalClient) Check {
	err := redisx.ReadOutcome(client.Ping(ctx).Err())
	if err == nil {
		return Check{Level: OK, Name: "connection", Detail: "it answers"}
	}
	said := greeting(ctx, client)
	switch {
	case strings.HasPrefix(said, "DENIED "):
		return Check{Fail, "connection", said, "give the default user a password and put it into the URL, or CONFIG SET protected-mode no where only trusted machines reach Redis"}
	case said != "":
		return Check{Fail, "connection", said, "raise maxclients, or end what holds so many connections"}
	}
	cure := "check that Redis runs where the URL says and that nothing is in between"
	var unavailable *streamhub.UnavailableError
	if errors.As(err, &unavailable) {
		switch unavailable.Reason {
		case streamhub.ReasonDenied:
			cure = "put the user and the password into the URL, redis://user:password@host:port, and give the user what a hub needs: ACL SETUSER <user> " + redisx.UserRule
		case streamhub.ReasonLoading:
			cure = "Redis is reading its data: wait"
		case streamhub.ReasonFull:
			cure = "Redis cannot write to its disk: make room, then look at its log"
		}
	}
	return Check{Fail, "connection", err.Error(), cure}
}

// greeting returns the first sentence of what a server says before it is asked anything, if it says something: it does so
// where it refuses a connection, in protected mode or with too many clients, and closes it. A client that writes first
// may not get to read it.
func greeting(ctx context.Context, client redis.UniversalClient) string {
	one, ok := client.(*redis.Client)
	if !ok {
		return ""
	}
	o := one.Options()
	conn, err := o.Dialer(ctx, o.Network, o.Addr)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(greetingTime)); err != nil {
		return ""
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "-") {
		return ""
	}
	said, _, _ := strings.Cut(strings.TrimSpace(line[1:]), ". ")
	return said
}

// primaries returns the servers that take writes, with what they tell of themselves.
func primaries(ctx context.Context, client redis.UniversalClient) ([]*node, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var nodes []*node
	if c, ok := client.(*redis.ClusterClient); ok {
		var mu sync.Mutex
		err := c.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error {
			n := &node{client: one, name: one.Options().Addr, info: ask(ctx, one)}
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, n)
			return nil
		})
		slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		if err != nil || len(nodes) == 0 {
			return nil, fmt.Errorf("no primaries: %w", err)
		}
		return nodes, nil
	}
	return []*node{{client: client, info: ask(ctx, client)}}, nil
}

// ask returns the fields of the sections of INFO that the checks read. A section that is refused is
// left out: the checks then say that the server does not tell.
func ask(ctx context.Context, client redis.UniversalClient) map[string]string {
	info := map[string]string{}
	for _, section := range []string{"server", "memory", "persistence", "replication", "cluster"} {
		text, err := client.Info(ctx, section).Result()
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[key] = value
			}
		}
	}
	return info
}

// unknown is the finding for a fact that the server does not tell. It is a warning: the fact may be
// bad.
func unknown(name string) Check {
	return Check{Warn, name, "the server does not tell", "the embedded Redis never does; on a real one the user of the hub needs +info"}
}
