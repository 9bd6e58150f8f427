package live

import "github.com/seed-147127fe/streamhub"

// A CancelError is the reason of a producer's end after a caller of [Stream.Cancel] asked it to
// stop.
type CancelError struct{ By, Reason string }

func (e *CancelError) Error() string {
	text := "cancelled"
	if e.By != "" {
		text += " by " + e.By
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Verdict returns the verdict of a generation that ends because of the request.
func (e *CancelError) Verdict() streamhub.Verdict {
	reason := e.By
	if e.Reason != "" && reason != "" {
		reason += ": "
	}
	return streamhub.Verdict{Kind: streamhub.VerdictCancelled, Reason: reason + e.Reason}
}

// CancelOptions describe a request to stop; nil stands for the defaults.
type CancelOptions struct {
	// By and Reason reach the producer in a [CancelError], and become the reason of the verdict. By has at
	// most 256 bytes, Reason 64 KiB.
	By, Reason string
	// NoWait returns as soon as the request is stored.
	NoWait bool
}
