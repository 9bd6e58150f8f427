// Package dispatch is where a request becomes a call on a hub, whatever protocol it came in: the
// dialects of a gateway decode requests and encode replies, and no operation is written twice.
//
// [Run] makes one call, which may last as long as its context: a follower is a call. What it reads
// goes to a [Reply] in order, as soon as it is there; a reply that blocks holds back its own call
// and of no other package. [Appends] makes several appends that arrived together.
//
// One table says of each operation its name, what it needs and how it runs; see [Operations].
//
// Both ask an [Access] first. What it does not allow is [streamhub.ErrPermissionDenied], and nothing
// was read or written.
package dispatch
