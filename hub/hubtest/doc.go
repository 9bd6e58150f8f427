// Package hubtest gives tests of programs over a hub, or over a client, a hub that fails on request.
//
//	func TestOrders(t *testing.T) {
//		env := hubtest.Open(t)
//		orders := NewOrders(env.Hub().Store(env.ID))   // in process
//		orders = NewOrders(env.Client().Store(env.ID)) // or over a gateway
//		env.LoseReplies(1)
//		// The next append is made, and its caller does not get the reply.
//	}
//
// An [Env] has a Redis in memory, a hub on it and a gateway to the hub. Its clock stands still until
// [Env.Advance] moves it: deadlines, times to live and leases follow that clock. How long a call retries
// or waits is measured on the clock of the machine.
//
// # Faults
//
// Each fault lasts until it is ended, or until the number of calls is used up that it was asked for:
//
//	LoseReplies    an append or another change is made, and the reply is lost
//	LoseRequests   it is not made, and its caller cannot know
//	StopRedis      Redis is out of reach, until StartRedis
//	Mark, LoseHistory   what Redis took since the mark is lost, as after a failover that lagged
//	Cut            every connection of clients to the gateway is cut; they may connect again
//	Stall          clients receive nothing, until Resume: they are slow readers for the gateway
//
// # A reader that survives
//
// [CutEverywhere] runs a reader of yours once for every entry, cuts its connection after that entry, and
// demands that it has seen all entries once and in order.
//
// A program that is no test uses [Start] and [Env.Close].
package hubtest
