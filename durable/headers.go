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
	// headerDurability is an extension of this project: the durability of an append, such as "replicas=1, fsync,
	// timeout=2s".
	headerDurability = "Streamhub-Durability"
	// headerFirstOffset is an extension of this project: the first readable offset, in the answer to a read of trimmed
	// entries.
	headerFirstOffset = "Stream-First-Offset"
)

const (
	methods = "GET, HEAD, PUT, POST, DELETE, OPTIONS"
	allowed = "*, Content-Type, Authorization, Accept, Cache-Control, If-Match, If-None-Match, Last-Event-ID, " +
		headerTTL + ", " + headerExpiresAt + ", " + headerSeq + ", " + headerClosed + ", " +
		headerForkedFrom + ", " + headerForkOffset + ", " + headerForkSub + ", " +
		headerProducer + ", " + headerEpoch + ", " + headerProducerSeq + ", " + headerDurability
	exposed = "Content-Type, ETag, Location, Retry-After, " +
		headerNextOffset + ", " + headerUpToDate + ", " + headerClosed + ", " + headerCursor + ", " +
		headerTTL + ", " + headerExpiresAt + ", " + headerSSEEncoding + ", " + headerFirstOffset + ", " +
		headerEpoch + ", " + headerProducerSeq + ", " + headerExpectedSeq + ", " + headerReceivedSeq
)

// setHeaders sets the headers of every response, errors included.
func setHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	// The writer of a stream chooses its content type, which may be HTML. Opened as a page, a stream has no origin and
	// runs no script. This does not affect what other pages fetch or embed.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", allowed)
	h.Set("Access-Control-Expose-Headers", exposed)
	h.Set("Access-Control-Max-Age", "86400")
}

// single are the headers that a request may have only once.
var single = []string{
	"Content-Type", headerTTL, headerExpiresAt, headerSeq, headerClosed, headerForkedFrom, headerForkOffset, headerForkSub,
	headerProducer, headerEpoch, headerProducerSeq, headerDurability, "If-Match",
}

// checkSingle refuses a header that is given twice: the client would not know which value counts. It also refuses an
// empty header: the request would not do what its client meant.
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
