// Package hubtest is for the tests of programs that use a hub or a client: it opens a hub that fails on request.
//
//	func TestOrders(t *testing.T) {
//		env := hubtest.Open(t)
//		orders := NewOrders(env.Hub().Store(env.ID))   // in process
//		orders = NewOrders(env.Client().Store(env.ID)) // or over a gateway
//		env.LoseReplies(1)
//		// The next append is made, and its caller does not get the reply.
//	}
//
// An [Env] has a Redis in memory, a hub on it and a gateway to the hub. Its clock stands still until [Env.Advance]
// moves it: deadlines, times to live and leases follow that clock. How long a call retries or waits is measured on the
// clock of the machine.
//
// # Faults
//
// Each fault lasts until it is ended, or for the number of calls that the test asked for:
//
//	LoseReplies        the next changes are made, but the hub gets no reply
//	LoseRequests       the next changes are not made, and the hub cannot know
//	StopRedis          Redis is unreachable until StartRedis
//	Mark, LoseHistory  every change since the mark is lost, as after a lagging failover
//	Cut                the connections of clients to the gateway are cut; clients may reconnect
//	Stall              clients receive nothing until Resume, as if they read slowly
//
// # Readers that resume
//
// [CutEverywhere] tests that a reader resumes. For each entry it runs the reader, cuts its connection after that entry,
// and checks that the reader has seen all entries once and in order.
//
// Programs other than tests use [Start] and [Env.Close].
package hubtest
