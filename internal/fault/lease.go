package fault

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-147127fe/streamhub"
)

// Unrenewed is the loss of a lease that its holder could not renew in time; last is the error of the last
// renewal, nil for none. It is [streamhub.ErrLeaseLost] alone: what became of a renewal, such as an unknown
// outcome or the end of a context of its own, is no condition of the loss.
func Unrenewed(last error) error {
	var call *streamhub.Error
	if errors.As(last, &call) {
		last = call.Err
	}
	switch {
	case last == nil, errors.Is(last, streamhub.ErrUnknownOutcome), errors.Is(last, context.DeadlineExceeded), errors.Is(last, context.Canceled):
		return fmt.Errorf("%w: no renewal was answered within two thirds of its ttl", streamhub.ErrLeaseLost)
	}
	return fmt.Errorf("%w: no renewal succeeded within two thirds of its ttl, and the last one failed: %v", streamhub.ErrLeaseLost, last)
}
