package genkit

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/firebase/genkit/go/core"

	"github.com/seed-147127fe/streamhub"
)

// A flowFailure is the output of the verdict failed: the error of a flow, encoded so that readers get it back.
type flowFailure struct {
	Status  core.StatusName `json:"status"`
	Details map[string]any  `json:"details,omitempty"`
	Message string          `json:"message"`
	// Internal marks a *core.GenkitError. Text is the text of an error that wraps one of the two kinds.
	Internal bool   `json:"internal,omitempty"`
	Text     string `json:"text,omitempty"`
}

// hidden is what readers get instead of the text of an internal error.
const hidden = "internal error"

// failure encodes the error that a flow ended with.
func failure(err error, hide bool) flowFailure {
	f := flowFailure{Status: core.INTERNAL, Message: "unknown error", Internal: true}
	var public *core.UserFacingError
	var internal *core.GenkitError
	switch {
	case errors.As(err, &public):
		f = flowFailure{Status: public.Status, Details: public.Details, Message: public.Message}
		if !hide && err.Error() != public.Error() {
			f.Text = err.Error()
		}
	case errors.As(err, &internal):
		f = flowFailure{Status: internal.Status, Details: internal.Details, Message: internal.Message, Internal: true}
		if err.Error() != internal.Error() {
			f.Text = err.Error()
		}
	case err != nil:
		f.Message = err.Error()
	}
	if hide && f.Internal {
		f = flowFailure{Status: f.Status, Message: hidden, Internal: true}
	}
	return f
}

// text returns f as JSON. Details that cannot be encoded are left out.
func (f flowFailure) text() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		f.Details = nil
		b, _ = json.Marshal(f) // cannot fail: the fields are strings
	}
	return b
}

// error returns the error that f describes: its kind, status, details and text.
func (f flowFailure) error() error {
	var err error = core.NewPublicError(f.Status, f.Message, f.Details)
	if f.Internal {
		err = &core.GenkitError{Status: f.Status, Message: f.Message, Details: f.Details, HTTPCode: core.HTTPStatusCode(f.Status)}
	}
	if f.Text != "" {
		return &textError{f.Text, err}
	}
	return err
}

// A textError has another text than the error that it wraps.
type textError struct {
	text string
	err  error
}

func (e *textError) Error() string { return e.text }
func (e *textError) Unwrap() error { return e.err }

// verdicts has the status and text for a stream that its flow did not end itself, by verdict.
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

// publicError converts err to the type that users of Genkit expect. The error of a context that ended is returned bare.
func publicError(err error) error {
	var call *streamhub.Error
	if errors.As(err, &call) {
		err = call.Err
	}
	//nolint:errorlint // only a bare one: inside another error it says why Redis failed
	if err == nil || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	var closed *streamhub.ClosedError
	switch {
	case errors.As(err, &closed) && closed.Verdict.Kind == streamhub.VerdictFailed:
		var f flowFailure
		if json.Unmarshal(closed.Verdict.Output, &f) != nil || f.Status == "" { // another program has ended the stream
			return core.NewPublicError(core.INTERNAL, closed.Verdict.Reason, nil)
		}
		return f.error()
	case errors.As(err, &closed):
		v, known := verdicts[closed.Verdict.Kind]
		if !known { // of a hub that is newer than this module
			return core.NewPublicError(core.FAILED_PRECONDITION, "stream has ended: "+string(closed.Verdict.Kind), nil)
		}
		return core.NewPublicError(v.status, v.message, nil)
	case errors.Is(err, streamhub.ErrNotFound):
		return core.NewPublicError(core.NOT_FOUND, "stream not found", nil)
	case errors.Is(err, streamhub.ErrFenced):
		return core.NewPublicError(core.ABORTED, "another producer took over", nil)
	case errors.Is(err, streamhub.ErrTooLarge), errors.Is(err, streamhub.ErrInvalidName), errors.Is(err, streamhub.ErrInvalidCursor), errors.Is(err, streamhub.ErrInvalidArgument):
		return core.NewPublicError(core.INVALID_ARGUMENT, err.Error(), nil)
	case errors.Is(err, streamhub.ErrHistoryLost):
		return core.NewPublicError(core.DATA_LOSS, "stream was lost", nil)
	case streamhub.Retryable(err), errors.Is(err, streamhub.ErrShutdown):
		return core.NewPublicError(core.UNAVAILABLE, "streams are unavailable", nil)
	}
	return core.NewPublicError(core.INTERNAL, "streams failed", nil)
}
