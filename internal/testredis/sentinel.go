package testredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	masterName = "streamhub"
	sentinels  = 3
	quorum     = 2
)

// staleVerdict is how Valkey 9.1 shows a healthy Sentinel that once called a master dead: it forgets that only when it
// asks again, after the next master has died. Redis and older Valkey forget it within five ask-periods.
const staleVerdict = "sentinel,master_down"

// SentinelOptions configures a master, its replicas and their Sentinels.
type SentinelOptions struct {
	// Options apply to master and replicas.
	Options

	// Replicas is their number. Default 2.
	Replicas int

	// DownAfter is the silence after which a Sentinel takes a server for dead. Default 500 ms.
	DownAfter time.Duration

	// FailoverTimeout bounds the steps of a failover; a failed one is tried again after twice this time. Default 1 s.
	FailoverTimeout time.Duration
}

// Sentinel is a master with replicas under three Sentinels, bound to the test that asked for it.
type Sentinel struct {
	Servers   []*Server // as started, the first is the master
	Sentinels []*Server

	tb testing.TB
}

// StartSentinel starts a master, replicas and three Sentinels that end with the test. It returns when the replicas are
// in step and every Sentinel knows all others and could start a failover. Nil options mean the defaults.
func StartSentinel(tb testing.TB, opts *SentinelOptions) *Sentinel {
	tb.Helper()
	short(tb)
	var o SentinelOptions
	if opts != nil {
		o = *opts
	}
	if o.Replicas == 0 {
		o.Replicas = 2
	}
	if o.DownAfter == 0 {
		o.DownAfter = 500 * time.Millisecond
	}
	if o.FailoverTimeout == 0 {
		o.FailoverTimeout = time.Second
	}
	servers, watchers, err := startSentinel(findBinary(tb), tb.TempDir(), &o)
	if err != nil {
		tb.Fatalf("testredis: %v", err)
	}
	s := &Sentinel{tb: tb}
	for _, n := range servers {
		s.Servers = append(s.Servers, own(tb, n))
	}
	for _, n := range watchers {
		s.Sentinels = append(s.Sentinels, own(tb, n))
	}
	return s
}

func startSentinel(path, base string, opts *SentinelOptions) (servers, watchers []*node, err error) {
	servers = make([]*node, 1+opts.Replicas)
	defer func() {
		if err != nil {
			killAll(servers)
			killAll(watchers)
		}
	}()
	if servers[0], err = startServer(path, base, &opts.Options, nil); err != nil {
		return nil, nil, err
	}
	master := servers[0].port
	err = each(opts.Replicas, func(i int) (err error) {
		servers[1+i], err = startServer(path, base, &opts.Options, func(*node) ([]string, error) {
			return []string{fmt.Sprintf("replicaof %s %d", loopback, master)}, nil
		})
		return err
	})
	if err != nil {
		return servers, nil, err
	}
	for range 20 {
		watchers, err = startWatchers(path, base, servers, opts)
		if !errors.Is(err, errPortTaken) {
			break
		}
		killAll(watchers)
	}
	if err != nil {
		return servers, watchers, err
	}
	if err = allWatched(watchers, servers); err != nil {
		err = fmt.Errorf("sentinels: %w\n%s", err, watchers[0].log(0))
	}
	return servers, watchers, err
}

// startWatchers starts the Sentinels. They are told of each other and of the replicas by their configuration, because
// finding out by themselves takes them seconds; so all ports have to be chosen before the first one starts.
func startWatchers(path, base string, servers []*node, opts *SentinelOptions) ([]*node, error) {
	watchers := make([]*node, sentinels)
	ids := make([]string, sentinels)
	for i := range watchers {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp(base, "sentinel-")
		if err != nil {
			return nil, err
		}
		watchers[i] = &node{path: path, sentinel: true, port: port, dir: dir}
		ids[i] = fmt.Sprintf("%016x%016x%08x", rand.Uint64(), rand.Uint64(), rand.Uint32())
	}
	err := each(sentinels, func(i int) error {
		lines := []string{
			fmt.Sprintf("port %d", watchers[i].port),
			"bind " + loopback,
			"daemonize no",
			`logfile ""`,
			"sentinel myid " + ids[i],
			fmt.Sprintf("sentinel monitor %s %s %d %d", masterName, loopback, servers[0].port, quorum),
			fmt.Sprintf("sentinel down-after-milliseconds %s %d", masterName, opts.DownAfter.Milliseconds()),
			fmt.Sprintf("sentinel failover-timeout %s %d", masterName, opts.FailoverTimeout.Milliseconds()),
			fmt.Sprintf("sentinel parallel-syncs %s %d", masterName, max(1, opts.Replicas)),
		}
		if opts.Password != "" {
			lines = append(lines, fmt.Sprintf("sentinel auth-pass %s %q", masterName, opts.Password))
		}
		for _, replica := range servers[1:] {
			lines = append(lines, fmt.Sprintf("sentinel known-replica %s %s %d", masterName, loopback, replica.port))
		}
		for j, other := range watchers {
			if j != i {
				lines = append(lines, fmt.Sprintf("sentinel known-sentinel %s %s %d %s", masterName, loopback, other.port, ids[j]))
			}
		}
		watchers[i].config = strings.Join(lines, "\n") + "\n"
		if err := watchers[i].create(); err != nil {
			return err
		}
		return watchers[i].hurry()
	})
	return watchers, err
}

// hurry shortens the periods of a Sentinel. With its own ones a former master that comes back stays a second master
// for more than eight seconds, four times the period of publishing. The ping-period stays: five times that is how fresh
// a replica's INFO has to be for its promotion.
func (n *node) hurry() error {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	client := n.dial()
	defer client.Close()
	return client.Do(ctx, "sentinel", "debug", "info-period", 500, "publish-period", 200, "ask-period", 200).Err()
}

// watchesAll checks that a failover could start this moment: this Sentinel sees a master out of servers, none but
// healthy replicas on the rest of them, and all the other Sentinels.
func (n *node) watchesAll(ctx context.Context, servers []*node) error {
	client := redis.NewSentinelClient(n.options())
	defer client.Close()
	master, err := client.Master(ctx, masterName).Result()
	if err != nil {
		return err
	}
	if master["flags"] != "master" {
		return fmt.Errorf("master is %s", master["flags"])
	}
	replicas, err := client.Replicas(ctx, masterName).Result()
	if err != nil {
		return err
	}
	state := map[string]string{master["port"]: "fine"}
	for _, r := range replicas {
		if r["flags"] == "slave" && r["master-link-status"] == "ok" && r["master-port"] == master["port"] {
			state[r["port"]] = "fine"
		} else {
			state[r["port"]] = fmt.Sprintf("%s, link to %s %s", r["flags"], r["master-port"], r["master-link-status"])
		}
	}
	for _, s := range servers {
		if port := strconv.Itoa(s.port); state[port] != "fine" {
			return fmt.Errorf("server on port %s: %s", port, state[port])
		}
	}
	others, err := client.Sentinels(ctx, masterName).Result()
	if err != nil {
		return err
	}
	if len(others) != sentinels-1 {
		return fmt.Errorf("%d other sentinels known", len(others))
	}
	for _, o := range others {
		if !slices.Contains([]string{"sentinel", staleVerdict}, o["flags"]) {
			return fmt.Errorf("sentinel %s is %s", o["name"], o["flags"])
		}
	}
	return nil
}

// allWatched waits until every Sentinel could start a failover.
func allWatched(watchers, servers []*node) error {
	return poll(formLimit, func(ctx context.Context) error {
		return each(len(watchers), func(i int) error { return watchers[i].watchesAll(ctx, servers) })
	})
}

// MasterName is the name the Sentinels know the master by.
func (s *Sentinel) MasterName() string { return masterName }

// SentinelAddrs are the addresses of the Sentinels.
func (s *Sentinel) SentinelAddrs() []string {
	var addrs []string
	for _, w := range s.Sentinels {
		addrs = append(addrs, w.Addr())
	}
	return addrs
}

// MasterAddr is the master's address in the eyes of most Sentinels that run. It stays that of a dead one until another
// is promoted.
func (s *Sentinel) MasterAddr() string {
	s.tb.Helper()
	var addr string
	err := poll(startLimit, func(ctx context.Context) (err error) {
		addr, err = s.agreed(ctx)
		return err
	})
	if err != nil {
		s.tb.Errorf("testredis: master: %v", err)
	}
	return addr
}

// agreed asks the Sentinels and returns what quorum of them say.
func (s *Sentinel) agreed(ctx context.Context) (string, error) {
	votes := make(map[string]int)
	var errs error
	for _, w := range s.Sentinels {
		if !w.n.serving() {
			continue
		}
		client := redis.NewSentinelClient(w.n.options())
		hostPort, err := client.GetMasterAddrByName(ctx, masterName).Result()
		_ = client.Close()
		if err == nil && len(hostPort) != 2 {
			err = fmt.Errorf("answer %q", hostPort)
		}
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		addr := net.JoinHostPort(hostPort[0], hostPort[1])
		if votes[addr]++; votes[addr] >= quorum {
			return addr, nil
		}
	}
	return "", errors.Join(fmt.Errorf("no majority: %v", votes), errs)
}

// Master is the server at MasterAddr.
func (s *Sentinel) Master() *Server {
	s.tb.Helper()
	m, err := s.at(s.MasterAddr())
	if err != nil {
		s.tb.Fatalf("testredis: master: %v", err)
	}
	return m
}

func (s *Sentinel) at(addr string) (*Server, error) {
	i := slices.IndexFunc(s.Servers, func(srv *Server) bool { return srv.Addr() == addr })
	if i < 0 {
		return nil, fmt.Errorf("no server has the address %q", addr)
	}
	return s.Servers[i], nil
}

// KillMaster kills the master and returns it; it does not wait for the failover.
func (s *Sentinel) KillMaster() *Server {
	s.tb.Helper()
	m := s.Master()
	m.Kill()
	return m
}

// WaitFailover returns the new master when most Sentinels agree on one other than old and it accepts writes.
func (s *Sentinel) WaitFailover(old *Server) *Server {
	s.tb.Helper()
	var next *Server
	err := poll(formLimit, func(ctx context.Context) error {
		addr, err := s.agreed(ctx)
		if err != nil {
			return err
		}
		if addr == old.Addr() {
			return fmt.Errorf("master is still %s", addr)
		}
		m, err := s.at(addr)
		if err != nil {
			return err
		}
		info, err := m.n.info(ctx)
		if err != nil {
			return err
		}
		if info["role"] != "master" {
			return fmt.Errorf("%s is a %s", addr, info["role"])
		}
		next = m
		return nil
	})
	if err != nil {
		s.tb.Fatalf("testredis: failover from %s: %v", old.Addr(), err)
	}
	return next
}

// WaitReady returns when all servers that run are one master and its replicas in step in the eyes of every Sentinel,
// and no failover is under way. To break the master again before that makes the next failover slow.
func (s *Sentinel) WaitReady() {
	s.tb.Helper()
	var servers, watchers []*node
	for _, srv := range s.Servers {
		if srv.n.serving() {
			servers = append(servers, srv.n)
		}
	}
	for _, w := range s.Sentinels {
		watchers = append(watchers, w.n)
	}
	if err := allWatched(watchers, servers); err != nil {
		s.tb.Errorf("testredis: wait for the sentinels: %v", err)
	}
}

// Client returns a new client that follows the master; it is closed when the test ends.
func (s *Sentinel) Client() *redis.Client {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:            masterName,
		SentinelAddrs:         s.SentinelAddrs(),
		Password:              s.Servers[0].n.password,
		DialTimeout:           500 * time.Millisecond,
		ContextTimeoutEnabled: true,
	})
	closeAtEnd(s.tb, client)
	return client
}
