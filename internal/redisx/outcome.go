package redisx

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

// refusals are the codes with which Redis says that it did not run a script that starts with
// "#!lua", or a single command.
var refusals = map[string]streamhub.UnavailableReason{
	"OOM":         streamhub.ReasonFull,
	"MISCONF":     streamhub.ReasonFull,
	"NOREPLICAS":  streamhub.ReasonReplicas,
	"READONLY":    streamhub.ReasonReadOnly,
	"MASTERDOWN":  streamhub.ReasonDown,
	"LOADING":     streamhub.ReasonLoading,
	"BUSY":        streamhub.ReasonBusy,
	"CLUSTERDOWN": streamhub.ReasonDown,
	"TRYAGAIN":    streamhub.ReasonBusy,
	"MOVED":       streamhub.ReasonDown,
	"ASK":         streamhub.ReasonDown,
	"DENIED":      streamhub.ReasonDenied, // protected mode
	"NOAUTH":      streamhub.ReasonDenied,
	"WRONGPASS":   streamhub.ReasonDenied,
	"NOPERM":      streamhub.ReasonDenied,
}

// Outcome turns an error of the driver into one of package streamhub: an [streamhub.UnavailableError] if the server did
// nothing, a [streamhub.UnknownOutcomeError] if it may have run the command, ErrCorrupt if a key has a type that no hub
// writes. Any other error reply, and an error that Outcome made before, is returned unchanged.
func Outcome(err error) error {
	var known *streamhub.UnavailableError
	var unknown *streamhub.UnknownOutcomeError
	switch {
	case err == nil, errors.As(err, &known), errors.As(err, &unknown):
		return err
	case isReply(err):
		code, _, _ := strings.Cut(err.Error(), " ")
		if reason, ok := refusals[code]; ok {
			return &streamhub.UnavailableError{Reason: reason, Err: err}
		}
		if redis.IsMaxClientsError(err) {
			return &streamhub.UnavailableError{Reason: streamhub.ReasonBusy, Err: err}
		}
		if code == "WRONGTYPE" {
			return errors.Join(streamhub.ErrCorrupt, err)
		}
		return err
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return &streamhub.UnavailableError{Reason: streamhub.ReasonPool, Err: err}
	case isHandshake(err):
		return &streamhub.UnavailableError{Reason: streamhub.ReasonTLS, Err: err}
	case NotSent(err):
		return &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: err}
	}
	return &streamhub.UnknownOutcomeError{Err: err}
}

// isHandshake reports whether the TLS handshake failed, so that nothing was sent.
func isHandshake(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	return errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert)
}

// Unsure returns the error of a call whose earlier step or attempt has, or may have, taken effect. err is the error of
// a later step, which alone may have done nothing. The end of a context stays visible to errors.Is. Any other cause is
// kept as text only: a wrapped sentinel would claim that nothing happened.
func Unsure(err error) error {
	switch {
	case errors.Is(err, streamhub.ErrUnknownOutcome):
		return err
	case errors.Is(err, context.Canceled):
		err = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		err = context.DeadlineExceeded
	case errors.Is(err, streamhub.ErrUnavailable), errors.Is(err, streamhub.ErrShutdown):
		err = errors.New(err.Error())
	default:
		return err
	}
	return &streamhub.UnknownOutcomeError{Err: err}
}

// cutOff reports whether err means that a connection was lost, or that another server may have taken over.
func cutOff(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	err = Outcome(err)
	var unavailable *streamhub.UnavailableError
	if errors.As(err, &unavailable) {
		switch unavailable.Reason {
		case streamhub.ReasonPool, streamhub.ReasonBusy, streamhub.ReasonGateway:
			return false
		}
		return true
	}
	return errors.Is(err, streamhub.ErrUnknownOutcome)
}

func isCode(err error, code string) bool {
	var reply redis.Error
	return errors.As(err, &reply) && redis.HasErrorPrefix(reply, code)
}

// ReadOutcome is like Outcome for a command that writes nothing, so the outcome is never unknown. The error of a
// context is returned unchanged.
func ReadOutcome(err error) error {
	err = Outcome(err)
	var unknown *streamhub.UnknownOutcomeError
	if errors.As(err, &unknown) {
		if cause := unknown.Err; errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
			return cause
		}
		return &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: unknown.Err}
	}
	return err
}

// Away reports whether err means that Redis cannot be reached; on a cluster perhaps only one of its servers.
func (c *Conn) Away(err error) bool {
	return c.Cluster == nil && errors.Is(err, streamhub.ErrUnavailable)
}

// NotSent reports whether err occurred before the first byte was written.
func NotSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" ||
		errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout)
}

// isReply reports whether err is an error reply of the server.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
