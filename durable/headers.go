package durable

import "net/http"

// The headers of the protocol.
const (
	headerNextOffset  = "Stream-Next-Offset"
	headerUpToDate    = "Stream-Up-To-Date"
	headerClosed      = "Stream-Closed"
	headerCursor      = "Stream-Cursor"
	headerTTL         = "Stream-TTL"
	headerExpiresAt   = "Stream-Expires-At"
	headerSeq         = "Stream-Seq"
	headerForkedFrom  = "Stream-Forked-From"
	headerForkOffset  = "Stream-Fork-Offset"
	headerForkSub     = "Stream-Fork-Sub-Offset"
	headerSSEEncoding = "Stream-SSE-Data-Encoding"
	headerProducer    = "Producer-Id"
	headerEpoch       = "Producer-Epoch"
	headerProducerSeq = "Producer-Seq"
	headerExpectedSeq = "Producer-Expected-Seq"
	headerReceivedSeq = "Producer-Received-Seq"
	// headerDurability is ours: the level that an append asks for, "replicas=1, fsync, timeout=2s".
	headerDurability = "Streamhub-Durability"
	// headerFirstOffset is ours: where reading can begin, in an answer that something was trimmed.
	headerFirstOffset = "Stream-First-Offset"
)

const (
	methods = "GET, HEAD, PUT, POST, DELETE, OPTIONS"
	allowed = "Content-Type, Authorization, Accept, Cache-Control, If-Match, If-None-Match, Last-Event-ID, " +
		headerTTL + ", " + headerExpiresAt + ", " + headerSeq + ", " + headerClosed + ", " +
		headerForkedFrom + ", " + headerForkOffset + ", " + headerForkSub + ", " +
		headerProducer + ", " + headerEpoch + ", " + headerProducerSeq + ", " + headerDurability
	exposed = "Content-Type, ETag, Location, Retry-After, " +
		headerNextOffset + ", " + headerUpToDate + ", " + headerClosed + ", " + headerCursor + ", " +
		headerTTL + ", " + headerExpiresAt + ", " + headerSSEEncoding + ", " + headerFirstOffset + ", " +
		headerEpoch + ", " + headerProducerSeq + ", " + headerExpectedSeq + ", " + headerReceivedSeq
)

// setHeaders sets what every answer has, errors included.
func setHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	// Who writes to a stream chooses its type. As a page of its own it has no origin and runs nothing;
	// what other pages fetch or show is not concerned.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", allowed)
	h.Set("Access-Control-Expose-Headers", exposed)
	h.Set("Access-Control-Max-Age", "86400")
}

// single are the headers of a request that have one value.
var single = []string{
	"Content-Type", headerTTL, headerExpiresAt, headerSeq, headerClosed, headerForkedFrom, headerForkOffset, headerForkSub,
	headerProducer, headerEpoch, headerProducerSeq, headerDurability, "If-Match",
}

// checkSingle refuses a header that is given twice: the client would not know which one counted. It refuses one without a
// value, too: the request would do something else than its client meant.
func checkSingle(h http.Header) error {
	for _, name := range single {
		switch values := h.Values(name); {
		case len(values) > 1:
			return badRequest("%s is given more than once", name)
		case len(values) == 1 && values[0] == "" && name != "Content-Type":
			return badRequest("%s is empty: leave it out", name)
		}
	}
	return nil
}
