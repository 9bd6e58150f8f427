// Package lease gives one holder at a time the exclusive right to a key, for a limited time, with a token that only
// grows.
//
// The hub uses it for work that only one instance may do, such as archiving, and gateways use it on behalf of remote
// clients. Most programs use package hub.
//
// # What it is good for
//
// A lease saves work: it keeps two instances from doing the same thing. It does not make them safe, because a holder
// can be paused for longer than its lease lasts and then continue. Safety comes from [Lease.Token]: pass it as
// generation to every append (AppendOptions.Generation). Once a later holder has written, every write of an earlier one
// is refused with ErrFenced. Tokens grow across release, expiry and an empty restart of Redis. A failover that lost
// writes can repeat a token if the clocks of the servers differ. So a program that keeps tokens outside Redis must
// refuse a token that it has seen with another holder.
//
// # The life of a lease
//
//	         acquire: a higher token
//	free ────────────────────────────▶ held ──┐ acquire or renew by its holder:
//	 ▲ ▲                              │  │ ▲  │ the same token, the ttl starts again
//	 │ └────── release by its holder ─┘  │ └──┘
//	 └───────────── the ttl ends ────────┘
//
// Calls of other holders change nothing: acquire ends with [streamhub.ErrLeaseNotAcquired], renew with
// [streamhub.ErrLeaseLost], and release reports false.
//
// # The trust window
//
// Redis counts the ttl from when it ran the script, which the holder does not know. So a holder counts from when it
// sent the request, on its own monotonic clock, and stops at two thirds:
//
//	sent    1/3 renewal is sent     2/3 no answer: stop               ttl
//	 ├────────────┼───────────────────────┼────────────────────────────┼──▶
//	 │ trusted: work                      │ not trusted: the context   │ free for others,
//	 │                                    │ of fn has ended            │ by the clock of Redis
//
// [Manager.WithLease] does that; a caller of [Manager.Acquire] checks [Lease.TrustedUntil]. The last third allows for
// clocks that run at different rates, and for work that takes a moment to stop.
//
// # Lost replies
//
// Every script may run twice: a holder that acquires again gets the same token. So a call whose reply was lost is sent
// again, a few times within its context, before it ends with [streamhub.ErrUnknownOutcome].
//
// # Errors
//
// Every call returns a [streamhub.Error] around one of the sentinels of package streamhub, or the error of its context.
package lease
