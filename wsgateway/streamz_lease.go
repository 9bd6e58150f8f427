package wsgateway

import (
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// maxLeaseTTL is the longest ttl that streamkit allows, in seconds.
const maxLeaseTTL = 86400

// A muxLeaseResult is the answer to each call about a lease. OK is false without a message if another
// holder has the lease.
type muxLeaseResult struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

func (ch *muxChannel) acquire(r *muxLease) error {
	return ch.lease(r, true, &wire.AcquireLease{Key: r.Key, Holder: r.Holder, TTL: time.Duration(r.TTL) * time.Second})
}

func (ch *muxChannel) renewLease(r *muxLease) error {
	return ch.lease(r, true, &wire.RenewLease{Key: r.Key, Holder: r.Holder, TTL: time.Duration(r.TTL) * time.Second})
}

func (ch *muxChannel) release(r *muxLease) error {
	return ch.lease(r, false, &wire.ReleaseLease{Key: r.Key, Holder: r.Holder})
}

// lease always answers with a result: released clients do not expect the channel to end with an error.
func (ch *muxChannel) lease(r *muxLease, timed bool, request wire.Request) error {
	var answer muxLeaseResult
	switch {
	// The texts are the ones that streamkit sends. Like streamkit, it sends none if another holder has the lease.
	case r.Key == "":
		answer.Message = "lease key must not be empty"
	case r.Holder == "":
		answer.Message = "lease holder must not be empty"
	case timed && r.TTL <= 0:
		answer.Message = "ttl_seconds must be positive"
	case timed && r.TTL > maxLeaseTTL:
		answer.Message = "ttl_seconds exceeds maximum of 86400"
	default:
		result, err := ch.run(request, nil)
		switch {
		case err == nil:
			n, _ := result.(wire.Number)
			answer.OK = n > 0
		case errors.Is(err, streamhub.ErrLeaseNotAcquired), errors.Is(err, streamhub.ErrLeaseLost):
		default:
			answer.Message = ch.text(err)
		}
	}
	if err := ch.send(answer); err != nil {
		return err
	}
	ch.wait()
	return nil
}
