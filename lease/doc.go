// Package lease gives one holder at a time the right to a key, for a time, with a token that only
// grows.
//
// Callers are the packages of the hub that must run once over all instances, such as the archiver,
// and the gateways, which pass on what remote clients ask for. Most programs use package hub.
//
// # What it is good for
//
// A lease saves work: it keeps two instances from doing the same thing. It does not make them
// safe, because a holder can be paused longer than its lease lasts and then go on. Safety comes
// from [Lease.Token]: pass it as generation to every append (AppendOptions.Generation). Once a
// later holder has written, whatever an earlier one still sends is refused as ErrFenced. Tokens
// grow over release, expiry and an empty restart of Redis; after a failover that lost writes they
// grow up to the error of the clocks. So a program that keeps tokens outside of Redis must refuse one
// that it has seen with another holder.
//
// # The life of a lease
//
//	         acquire: a higher token
//	free ────────────────────────────▶ held ──┐ acquire or renew by its holder:
//	 ▲ ▲                              │  │ ▲  │ the same token, the ttl starts again
//	 │ └────── release by its holder ─┘  │ └──┘
//	 └───────────── the ttl ends ────────┘
//
// Everything else changes nothing: another's acquire ends with [streamhub.ErrLeaseNotAcquired],
// another's renewal with [streamhub.ErrLeaseLost], another's release says that it released nothing.
//
// # The trust window
//
// Redis counts the ttl from when it ran the script, which the holder does not know. So a holder
// counts from when it sent the request, on its own monotonic clock, and stops at two thirds:
//
//	sent    1/3 renewal is sent     2/3 no answer: stop               ttl
//	 ├────────────┼───────────────────────┼────────────────────────────┼──▶
//	 │ trusted: work                      │ not trusted: the context   │ free for others,
//	 │                                    │ of fn has ended            │ by the clock of Redis
//
// [Manager.WithLease] does that; who calls [Manager.Acquire] looks at [Lease.TrustedUntil]. The last
// third is there for clocks that run differently and for work that takes a moment to stop.
//
// # Lost replies
//
// Every script may run twice: a holder that acquires again gets the token it has. So a call whose
// reply was lost is sent again, a few times within its context, before it ends with
// [streamhub.ErrUnknownOutcome].
//
// # Errors
//
// Every call returns a [streamhub.Error] around one of the sentinels of package streamhub, or the
// error of its context.
package lease
