package pause

import (
	"context"
	"time"
)

// farewell is how long a call that callers defer may go on after the end of their context.
const farewell = time.Second

// Goodbye returns a context for a call that callers defer, such as a Close: often the context of the caller
// has ended by then, and what the call says must still be said. It ends a second after ctx. The caller
// calls done when the call is over.
func Goodbye(ctx context.Context) (_ context.Context, done context.CancelFunc) {
	bye, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		if For(bye, farewell) {
			cancel(context.Cause(ctx))
		}
	})
	return bye, func() {
		cancel(context.Canceled)
		if !stop() {
			<-over
		}
	}
}
