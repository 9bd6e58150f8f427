package testredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// ClusterOptions configures every node of a Cluster.
type ClusterOptions struct {
	Options

	// NodeTimeout is cluster-node-timeout, after which a silent node is taken for dead; an election takes about as
	// long again. Default 2 s.
	NodeTimeout time.Duration
}

// Cluster is a Redis Cluster, bound to the test that asked for it.
type Cluster struct {
	// Nodes are all servers. As started, the first ones are the masters, with equal shares of the slots in this
	// order, and node i+masters, i+2*masters, … replicate master i; a failover changes the roles.
	Nodes []*Server

	tb testing.TB
}

// short skips a test that needs several servers, in a run with -short.
func short(tb testing.TB) {
	tb.Helper()
	if testing.Testing() && testing.Short() {
		tb.Skip("testredis: a single server is all there is in a short run")
	}
}

// StartCluster starts a Cluster that ends with the test. It returns when every node sees all slots served and every
// replica in step with its master. Nil options mean the defaults.
func StartCluster(tb testing.TB, masters, replicasPerMaster int, opts *ClusterOptions) *Cluster {
	tb.Helper()
	short(tb)
	nodes, err := startCluster(findBinary(tb), tb.TempDir(), masters, replicasPerMaster, opts)
	if err != nil {
		tb.Fatalf("testredis: %v", err)
	}
	c := &Cluster{tb: tb}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, own(tb, n))
	}
	return c
}

func startCluster(path, base string, masters, replicas int, opts *ClusterOptions) (_ []*node, err error) {
	if opts == nil {
		opts = &ClusterOptions{}
	}
	timeout := opts.NodeTimeout
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	nodes := make([]*node, masters*(1+replicas))
	defer func() {
		if err != nil {
			killAll(nodes)
		}
	}()
	err = each(len(nodes), func(i int) (err error) {
		nodes[i], err = startServer(path, base, &opts.Options, func(n *node) (lines []string, err error) {
			if n.bus, err = freePort(); err != nil {
				return nil, err
			}
			return []string{
				"cluster-enabled yes",
				"cluster-config-file nodes.conf",
				fmt.Sprintf("cluster-port %d", n.bus),
				fmt.Sprintf("cluster-node-timeout %d", timeout.Milliseconds()),
			}, nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := form(nodes, masters, replicas); err != nil {
		return nil, fmt.Errorf("cluster of %d+%d: %w\n%s", masters, replicas, err, nodes[0].log(0))
	}
	return nodes, nil
}

func killAll(nodes []*node) {
	for _, n := range nodes {
		if n != nil {
			_ = n.kill()
		}
	}
}

// form makes one Cluster of separate nodes.
func form(nodes []*node, masters, replicas int) error {
	clients := make([]*redis.Client, len(nodes))
	for i, n := range nodes {
		clients[i] = n.dial()
		defer clients[i].Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), formLimit)
	defer cancel()

	// Different epochs from the start spare the nodes the resolution of a conflict.
	ids := make([]string, len(nodes))
	for i, c := range clients {
		if err := c.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return fmt.Errorf("set-config-epoch: %w", err)
		}
		if i < masters {
			first, last := i*slots/masters, (i+1)*slots/masters-1
			if err := c.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
				return fmt.Errorf("addslotsrange: %w", err)
			}
		}
		var err error
		if ids[i], err = c.ClusterMyID(ctx).Result(); err != nil {
			return fmt.Errorf("myid: %w", err)
		}
		// Every pair is introduced, because gossip alone would take seconds.
		for _, other := range nodes[:i] {
			if err := c.Do(ctx, "cluster", "meet", loopback, other.port, other.bus).Err(); err != nil {
				return fmt.Errorf("meet: %w", err)
			}
		}
	}
	for i := masters; i < len(nodes); i++ {
		master := ids[i%masters]
		err := poll(formLimit, func(ctx context.Context) error { // the replica may not know its master yet
			return clients[i].ClusterReplicate(ctx, master).Err()
		})
		if err != nil {
			return fmt.Errorf("replicate: %w", err)
		}
	}
	return poll(formLimit, func(ctx context.Context) error {
		for i, c := range clients {
			if err := seesWhole(ctx, c, 1+replicas, nil); err != nil {
				return fmt.Errorf("node %d: %w", i, err)
			}
			if err := inStep(ctx, c); err != nil {
				return fmt.Errorf("node %d: %w", i, err)
			}
		}
		return nil
	})
}

// seesWhole checks that in the eyes of one node all slots are served, each by copies nodes (0: any number), and by a
// master out of serving (nil: any).
func seesWhole(ctx context.Context, c *redis.Client, copies int, serving map[string]bool) error {
	info, err := c.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for line := range strings.Lines(info) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster_state:"); ok && state != "ok" {
			return fmt.Errorf("cluster_state is %s", state)
		}
	}
	ranges, err := slotRanges(ctx, c)
	if err != nil {
		return err
	}
	covered := 0
	for _, r := range ranges {
		covered += r.End - r.Start + 1
		if len(r.Nodes) == 0 || copies > 0 && len(r.Nodes) != copies {
			return fmt.Errorf("slots %d-%d are on %d nodes", r.Start, r.End, len(r.Nodes))
		}
		if serving != nil && !serving[r.Nodes[0].Addr] {
			return fmt.Errorf("slots %d-%d are with %s, which does not answer", r.Start, r.End, r.Nodes[0].Addr)
		}
	}
	if covered != slots {
		return fmt.Errorf("%d slots are served", covered)
	}
	return nil
}

// slotRanges is one node's view of who serves what, the one clients route by.
func slotRanges(ctx context.Context, c *redis.Client) ([]redis.ClusterSlot, error) {
	return c.ClusterSlots(ctx).Result() //nolint:staticcheck // go-redis uses CLUSTER SLOTS itself, so it cannot go away
}

// inStep checks one node's end of replication: its link if it is a replica, the links of its replicas if not.
func inStep(ctx context.Context, c *redis.Client) error {
	info, err := askInfo(ctx, c)
	if err != nil {
		return err
	}
	if info["role"] == "slave" {
		if state := info["master_link_status"]; state != "up" {
			return fmt.Errorf("link to master is %s", state)
		}
		return nil
	}
	count, err := strconv.Atoi(info["connected_slaves"])
	if err != nil {
		return err
	}
	for i := range count {
		if replica := info["slave"+strconv.Itoa(i)]; !strings.Contains(replica, "state=online") {
			return fmt.Errorf("replica %s", replica)
		}
	}
	return nil
}

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Client returns a new client that looks for moved slots every 500 ms; it is closed when the test ends.
func (c *Cluster) Client() *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                      c.Addrs(),
		Password:                   c.Nodes[0].n.password,
		ClusterStateReloadInterval: 500 * time.Millisecond,
		DialTimeout:                500 * time.Millisecond,
		DialerRetries:              1,
		ContextTimeoutEnabled:      true,
	})
	closeAtEnd(c.tb, client)
	return client
}

// Kill, Pause, Resume and Restart act on Nodes[i].
func (c *Cluster) Kill(i int)    { c.Nodes[i].Kill() }
func (c *Cluster) Pause(i int)   { c.Nodes[i].Pause() }
func (c *Cluster) Resume(i int)  { c.Nodes[i].Resume() }
func (c *Cluster) Restart(i int) { c.Nodes[i].Restart() }

// MasterFor returns the index of the node that serves a key in the eyes of the first node that answers: a dead one,
// as long as its failure has not been noticed.
func (c *Cluster) MasterFor(key string) int {
	c.tb.Helper()
	i, err := c.masterFor(key)
	if err != nil {
		c.tb.Errorf("testredis: master for %q: %v", key, err)
	}
	return i
}

func (c *Cluster) masterFor(key string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	err := errors.New("no node answers")
	for _, s := range c.serving() {
		var addr string
		if addr, err = s.n.askMaster(ctx, key); err == nil {
			for i := range c.Nodes {
				if c.Nodes[i].Addr() == addr {
					return i, nil
				}
			}
			err = fmt.Errorf("no node has the address %q", addr)
		}
	}
	return -1, err
}

// askMaster returns the address of the master this node knows for a key.
func (n *node) askMaster(ctx context.Context, key string) (string, error) {
	client := n.dial()
	defer client.Close()
	slot, err := client.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return "", err
	}
	ranges, err := slotRanges(ctx, client)
	if err != nil {
		return "", err
	}
	for _, r := range ranges {
		if int64(r.Start) <= slot && slot <= int64(r.End) && len(r.Nodes) > 0 {
			return r.Nodes[0].Addr, nil
		}
	}
	return "", fmt.Errorf("no node serves slot %d", slot)
}

// ReplicasOf returns the indexes of the running nodes that replicate node i now.
func (c *Cluster) ReplicasOf(i int) []int {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	var replicas []int
	for j, s := range c.Nodes {
		if j == i || !s.n.serving() {
			continue
		}
		info, err := s.n.info(ctx)
		if err != nil {
			c.tb.Errorf("testredis: replicas of node %d: %v", i, err)
			continue
		}
		if info["role"] == "slave" && info["master_port"] == strconv.Itoa(c.Nodes[i].n.port) {
			replicas = append(replicas, j)
		}
	}
	return replicas
}

// WaitReady returns when, in the eyes of every node that runs, all slots are served by nodes that run, and every
// running replica is in step. After a Kill it so waits for the failover, after a Restart for the return.
func (c *Cluster) WaitReady() {
	c.tb.Helper()
	serving := c.serving()
	addrs := make(map[string]bool)
	for _, s := range serving {
		addrs[s.Addr()] = true
	}
	err := poll(formLimit, func(ctx context.Context) error {
		for _, s := range serving {
			client := s.n.dial()
			err := errors.Join(seesWhole(ctx, client, 0, addrs), inStep(ctx, client))
			_ = client.Close()
			if err != nil {
				return fmt.Errorf("node on %s: %w", s.Addr(), err)
			}
		}
		return nil
	})
	if err != nil {
		c.tb.Errorf("testredis: wait for the cluster: %v", err)
	}
}

func (c *Cluster) serving() []*Server {
	var servers []*Server
	for _, s := range c.Nodes {
		if s.n.serving() {
			servers = append(servers, s)
		}
	}
	return servers
}
