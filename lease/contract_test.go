package lease_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/leasetest"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestContractMiniredis(t *testing.T) {
	t.Parallel()
	leasetest.Run(t, func(t *testing.T, test func(*testing.T, leasetest.Backend)) {
		m := miniredis.RunT(t)
		m.ClockTTL(true)
		client := redis.NewClient(&redis.Options{Addr: m.Addr(), ContextTimeoutEnabled: true})
		defer client.Close()
		test(t, leasetest.Backend{Conn: connect(t, client)})
	})
}

func TestContractVirtual(t *testing.T) {
	leasetest.Run(t, func(t *testing.T, test func(*testing.T, leasetest.Backend)) {
		virtual(t, func(t *testing.T, w *world) { test(t, leasetest.Backend{Conn: w.conn}) })
	})
}

func TestContractLossy(t *testing.T) {
	var lost int64
	leasetest.Run(t, func(t *testing.T, test func(*testing.T, leasetest.Backend)) {
		virtual(t, func(t *testing.T, w *world) {
			w.link.loseReplies(some())
			test(t, leasetest.Backend{Conn: w.conn, Lossy: true})
			lost += w.link.lost.Load()
		})
	})
	if lost < 100 {
		t.Errorf("only %d replies were lost", lost)
	}
}

func TestContractRedis(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	declared := testredis.DeclaredKeys(t, server.Client().Options())
	leasetest.Run(t, func(t *testing.T, test func(*testing.T, leasetest.Backend)) {
		client := server.Client()
		client.AddHook(declared)
		test(t, leasetest.Backend{Conn: connect(t, client)})
	})
}

// TestContractUser runs the contract as the documented user, to which nothing may be refused.
func TestContractUser(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	leasetest.Run(t, func(t *testing.T, test func(*testing.T, leasetest.Backend)) {
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: testredis.User, Password: testredis.Password, DisableIdentity: true, ContextTimeoutEnabled: true})
		defer client.Close()
		test(t, leasetest.Backend{Conn: connect(t, client), Admin: connect(t, server.Client())})
	})
}

func TestContractCluster(t *testing.T) {
	t.Parallel()
	cluster := testredis.StartCluster(t, 3, 0, nil)
	leasetest.Run(t, func(t *testing.T, test func(*testing.T, leasetest.Backend)) {
		test(t, leasetest.Backend{Conn: connect(t, cluster.Client())})
	})
}

func connect(t *testing.T, client redis.UniversalClient) *redisx.Conn {
	t.Helper()
	conn, err := redisx.Connect(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
