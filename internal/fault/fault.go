// Package fault makes the error of a call: the one place where a [streamhub.Error] is put around what went wrong.
package fault

import (
	"context"
	"errors"
	"log/slog"

	"github.com/seed-147127fe/streamhub"
)

// At returns err as the error of the call that where names, whose Err is not looked at. Nil stays nil, and an error that
// names a call already stays as it is: that call knows best where it was.
func At(where streamhub.Error, err error) error {
	if err == nil || errors.As(err, new(*streamhub.Error)) {
		return err
	}
	where.Err = err
	return &where
}

// Outer is [At] for a call that is made of others: it names itself in place of the one that failed. The end of a context is
// passed on as it is.
func Outer(where streamhub.Error, err error) error {
	//nolint:errorlint // only a bare one: inside another error it says why Redis failed
	if err == nil || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	var inner *streamhub.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	where.Err = err
	return &where
}

// Level is the level at which a task in the background logs err. That Redis cannot serve is logged once for a whole hub, so it
// is Debug here, as is an answer that was lost. Everything else, an archive that cannot serve among it, is logged at usual.
func Level(err error, usual slog.Level) slog.Level {
	if errors.As(err, new(*streamhub.UnavailableError)) || errors.As(err, new(*streamhub.UnknownOutcomeError)) {
		return slog.LevelDebug
	}
	return usual
}
