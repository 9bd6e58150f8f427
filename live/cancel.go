package live

import "github.com/seed-147127fe/streamhub"

// A CancelError is the reason to stop that a producer receives after a call of [Stream.Cancel].
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

// Verdict returns the verdict of a generation that ends because of the request: cancelled, with By and Reason.
func (e *CancelError) Verdict() streamhub.Verdict {
	reason := e.By
	if e.Reason != "" && reason != "" {
		reason += ": "
	}
	return streamhub.Verdict{Kind: streamhub.VerdictCancelled, Reason: reason + e.Reason}
}

// CancelOptions describe a request to stop; nil stands for an anonymous request that Cancel waits for.
type CancelOptions struct {
	// By and Reason reach the producer in a [CancelError], and become the reason of the verdict. By has at
	// most 256 bytes, Reason 64 KiB.
	By, Reason string
	// NoWait makes Cancel return as soon as the request is stored.
	NoWait bool
}
