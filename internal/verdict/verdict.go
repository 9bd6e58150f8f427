// Package verdict decides with which verdict a producer of a live stream ends its generation, and writes what a program
// says of a stream as JSON. The producer in a hub's process and the one of a client behind a gateway both ask it.
package verdict

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// Check refuses a verdict that no producer gives: one of no known kind, and those that stand for what others have done.
// The producer that takes over writes superseded, Remove writes deleted.
func Check(v streamhub.Verdict) error {
	if !v.Kind.Known() || v.Kind == streamhub.VerdictSuperseded || v.Kind == streamhub.VerdictDeleted {
		return fmt.Errorf("%w: a producer ends a stream as done, failed, cancelled, lost or expired, not as %q", streamhub.ErrInvalidArgument, v.Kind)
	}
	return nil
}

// Done is the verdict of a job with an output, nil for none.
func Done(output any) (v streamhub.Verdict, err error) {
	v.Kind = streamhub.VerdictDone
	if output == nil {
		return v, nil
	}
	v.Output, err = JSON("output", output)
	return v, err
}

// Failed is the verdict of a job that failed for a reason: cancelled if asked, the request to stop, is not
// nil and the reason is its consequence.
func Failed(reason error, asked *live.CancelError) (streamhub.Verdict, error) {
	if reason == nil {
		return streamhub.Verdict{}, fmt.Errorf("%w: Fail needs an error, which becomes the reason", streamhub.ErrInvalidArgument)
	}
	if asked != nil && (errors.Is(reason, context.Canceled) || errors.As(reason, new(*live.CancelError))) {
		return asked.Verdict(), nil
	}
	return streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: reason.Error()}, nil
}

// Closed is the verdict of a producer that is closed without one.
func Closed(asked *live.CancelError) streamhub.Verdict {
	if asked != nil {
		return asked.Verdict()
	}
	return streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "closed without a result"}
}

// Ended is what Close returns for the error of End: a generation that has a verdict already, or another
// producer, is closed as well.
func Ended(err error) error {
	if errors.Is(err, streamhub.ErrClosed) || errors.Is(err, streamhub.ErrFenced) {
		return nil
	}
	return err
}
