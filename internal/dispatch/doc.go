// Package dispatch turns a request into a call on a hub, whatever protocol it came in. The dialects
// of a gateway decode requests and encode replies, so no operation is written twice.
//
// [Run] makes one call, which may last as long as its context: a follower is a call. What it reads
// goes to a [Reply] in order, as soon as it is there. A reply that blocks delays only its own call.
// [Appends] makes several appends that arrived together.
//
// One table says of each operation its name, what it needs and how it runs; see [Operations].
//
// Both functions ask an [Access] first. What it does not allow is [streamhub.ErrPermissionDenied],
// and then nothing was read or written.
package dispatch
