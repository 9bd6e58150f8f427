// Package dispatch turns a request into a call on a hub, for every protocol. The dialects of a gateway decode requests
// and encode replies, so no operation is written twice.
//
// [Run] makes one call, which may last as long as its context: a follower is a call. Items go to a [Reply] in order, as
// soon as they are read. A reply that blocks delays only its own call. [Appends] makes several appends that arrived
// together.
//
// One table has the name of each operation, the rights that it needs and how it runs; see [Operations].
//
// Both functions check an [Access] first. If it does not allow a request, the error is [streamhub.ErrPermissionDenied],
// and nothing was read or written.
package dispatch
