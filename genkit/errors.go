package genkit

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/firebase/genkit/go/core"

	"github.com/seed-147127fe/streamhub"
)

// A flowFailure is the output of the verdict failed: an error as its reader gets it back.
type flowFailure struct {
	Status  core.StatusName `json:"status"`
	Details map[string]any  `json:"details,omitempty"`
}

// failure is the verdict of a flow that ended with err.
func failure(err error) streamhub.Verdict {
	f, message := flowFailure{Status: core.INTERNAL}, "unknown error"
	var public *core.UserFacingError
	var internal *core.GenkitError
	switch {
	case errors.As(err, &public):
		f, message = flowFailure{public.Status, public.Details}, public.Message
	case errors.As(err, &internal):
		f, message = flowFailure{internal.Status, internal.Details}, internal.Message
	case err != nil:
		message = err.Error()
	}
	output, err := json.Marshal(f)
	if err != nil { // the details are no JSON
		output, _ = json.Marshal(flowFailure{Status: f.Status})
	}
	return streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: message, Output: output}
}

// verdicts say with which status a stream ends that its flow did not end itself.
var verdicts = map[streamhub.VerdictKind]struct {
	status  core.StatusName
	message string
}{
	streamhub.VerdictCancelled:  {core.CANCELLED, "stream was cancelled"},
	streamhub.VerdictLost:       {core.UNAVAILABLE, "the process that produced the stream was lost"},
	streamhub.VerdictSuperseded: {core.ABORTED, "another producer took over"},
	streamhub.VerdictExpired:    {core.DEADLINE_EXCEEDED, "stream timed out"},
	streamhub.VerdictDeleted:    {core.NOT_FOUND, "stream not found"},
	streamhub.VerdictDone:       {core.FAILED_PRECONDITION, "stream has already completed"},
}

// publicError makes the error that users of Genkit assert. The end of a context is passed on.
func publicError(err error) error {
	//nolint:errorlint // only a bare one: inside another error it says why Redis failed
	if err == nil || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	var closed *streamhub.ClosedError
	switch {
	case errors.As(err, &closed) && closed.Verdict.Kind == streamhub.VerdictFailed:
		f := flowFailure{Status: core.INTERNAL}
		_ = json.Unmarshal(closed.Verdict.Output, &f) // one that is not ours has none
		return core.NewPublicError(f.Status, closed.Verdict.Reason, f.Details)
	case errors.As(err, &closed):
		v := verdicts[closed.Verdict.Kind]
		return core.NewPublicError(v.status, v.message, nil)
	case errors.Is(err, streamhub.ErrNotFound):
		return core.NewPublicError(core.NOT_FOUND, "stream not found", nil)
	case errors.Is(err, streamhub.ErrFenced):
		return core.NewPublicError(core.ABORTED, "another producer took over", nil)
	case errors.Is(err, streamhub.ErrTooLarge), errors.Is(err, streamhub.ErrInvalidName), errors.Is(err, streamhub.ErrInvalidCursor), errors.Is(err, streamhub.ErrInvalidArgument):
		return core.NewPublicError(core.INVALID_ARGUMENT, err.Error(), nil)
	case errors.Is(err, streamhub.ErrHistoryLost):
		return core.NewPublicError(core.DATA_LOSS, "stream was lost", nil)
	case errors.Is(err, streamhub.ErrUnavailable), errors.Is(err, streamhub.ErrUnknownOutcome), errors.Is(err, streamhub.ErrShutdown):
		return core.NewPublicError(core.UNAVAILABLE, "streams are unavailable", nil)
	}
	return core.NewPublicError(core.INTERNAL, "streams failed", nil)
}
