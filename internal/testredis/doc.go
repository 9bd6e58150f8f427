// Package testredis starts real Redis servers for tests: a single server, a Cluster, or a master with replicas and
// Sentinels.
//
// Tests of every package that talks to Redis call it; nothing else may. The servers are child processes in temporary
// directories. They listen on 127.0.0.1 only, keep no snapshots, and end with the test: by its cleanup, and on Linux
// also by the kernel should the test binary die. Only processes this package started are ever signalled.
//
//	func TestMain(m *testing.M) { testredis.Main(m) }
//
//	func TestAppend(t *testing.T) {
//		client := testredis.Shared(t).Client()
//		…
//	}
//
// # One server for a package, or one for a test
//
// [Shared] and [SharedCluster] start a server at their first call and give the same one to every test of the package;
// tests keep apart by using keys of their own, and never stop, pause or reconfigure it. [Start], [StartCluster] and
// [StartSentinel] give a test servers it may break.
//
// # Faults
//
// [Server.Kill] is a power cut without the loss of the page cache, [Server.Pause] a hung process, [Server.Restart] a
// crash with its data kept, [Server.RestartEmpty] one that lost everything. A server keeps its port through all of them.
//
// # Failures
//
// Starting fails the test at once, and so do the methods that return a server. All others report with tb.Errorf, so
// that a goroutine which breaks things while others work may call them; they are safe for concurrent use. When a test
// fails, the end of each server's log is added to its output.
//
// # Without redis-server
//
// STREAMHUB_REDIS_SERVER names the server program, by path or by name; otherwise it is redis-server or valkey-server on
// PATH. Without one, tests are skipped with a message that says what to install. With CI or STREAMHUB_REQUIRE_REDIS set
// in the environment they fail instead. Redis 7.0 or later is needed.
package testredis
