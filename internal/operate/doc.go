// Package operate answers the questions of operators about a hub: which leases are held, which live streams are
// produced, which subscriptions fail, which instances run. The console, the gateway and the commands of the binary call
// it.
//
// [Operations] is the interface. [New] implements it on a hub, [NewHandler] offers that over HTTP, and [NewRemote]
// implements it again over HTTP, so a command has one code path for both.
//
// # Over HTTP
//
// All paths are below /v1/operate/ for the nil store and /stores/<UUID>/v1/operate/ for any other. A list has one JSON
// object per line. A list that fails after its first line ends with a line {"error": …}.
//
//	GET    leases                        leases that are held
//	GET    list[?after=NAME]             spaces, up to 1,000 of them after a name
//	GET    list?space=S[&after=NAME]     segments of a space with their statuses, likewise
//	GET    workers                       workers that have joined
//	GET    live?space=S[&ended=1]        live streams of a space
//	DELETE live?space=S&id=ID            cancels one; generation=N and reason=TEXT may follow
//	GET    subscriptions[?id=ID]         subscriptions of Durable Streams, or one with its streams
//	DELETE subscriptions?id=ID           ends one
//	DELETE store                         removes what the store has besides its segments: spaces, their archive, leases, subscriptions
//	GET    instances                     processes with a hub, of all stores
//	GET    overview                      Redis, what is wrong with it, and the instances
//
// Spaces, leases, workers, subscriptions and the store need a right to the whole store. Segments and live streams need
// a right to their space. Instances and the overview need a right to everything: streamhub::*::*::read.
package operate
