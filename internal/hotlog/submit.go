package hotlog

import (
	"context"
	"errors"

	"github.com/seed-147127fe/streamhub"
)

// A Submission is an append that is given to a store in order and waited for later. The caller does
// not change it after [Store.Submit].
type Submission struct {
	streamhub.Append
	// After, unless nil, was submitted before, or precedes this one in the same call, and is for the same segment. If
	// it ends with an error after which it can still be stored, this one is not made: the error is then
	// [streamhub.ErrUnavailable], and both can be repeated in order.
	After *Submission
	// Remote says that the caller is another process, which knows of the entries up to Known only. If the entry at
	// Known was lost, the append is not made and the error is [streamhub.ErrHistoryLost].
	Remote bool
	Known  streamhub.Position

	s   *Store
	req *request
	err error // decided before anything was sent
}

// Submit queues appends. Those to one segment are made in the order given, also across calls. It does not wait for
// Redis. Each submission has to be waited for.
func (s *Store) Submit(submissions []*Submission) {
	requests := make([]*request, len(submissions))
	for i, sub := range submissions {
		sub.s = s
		requests[i], sub.err = s.newAppend(sub.Space, sub.Segment, sub.Records, sub.Options)
		if before := sub.After; before != nil && errors.Is(before.err, streamhub.ErrQuota) {
			requests[i], sub.err = nil, before.err // must not be overtaken if there is room again later
		}
		sub.req = requests[i]
		if sub.req != nil && sub.Remote {
			sub.req.remote, sub.req.known = true, sub.Known
		}
		for before := sub.After; before != nil && requests[i] != nil; before = before.After {
			if before.req != nil { // a refused predecessor does not stop its successors
				requests[i].after = before.req
				break
			}
		}
	}
	s.log.appender.submit(requests)
	for i, sub := range submissions {
		sub.req = requests[i] // a repeat waits for the request in flight
	}
}

// Wait returns the results of [Store.Append]. When ctx ends, an append that was not sent is not made.
func (sub *Submission) Wait(ctx context.Context) (result streamhub.AppendResult, err error) {
	if err = sub.err; err == nil {
		result, err = sub.s.log.appender.wait(ctx, sub.req)
	}
	return result, sub.s.fail("append", sub.Space, sub.Segment, err)
}

// A chain orders the submissions of one call that are for the same segment.
type chain map[[2]string]*Submission

// add makes sub depend on the previous submission for its segment.
func (c chain) add(sub *Submission) {
	at := [2]string{sub.Space, sub.Segment}
	sub.After = c[at]
	c[at] = sub
}

// The functions below run under appender.mu.

// stops reports whether the requests after r must not be made: r was not stored, as far as is known, but may still be.
func (r *request) stops() bool {
	return r.withdrawn || r.answered && r.mayPass()
}

// mayPass reports whether r can be stored when it is sent again. A request that is too old for the row of its producer
// cannot, although its outcome is unknown.
func (r *request) mayPass() bool {
	if r.remote && r.producer != nil && r.producer.ID[0] == '~' &&
		(errors.Is(r.err, streamhub.ErrProducerGap) || errors.Is(r.err, streamhub.ErrBatchMismatch)) {
		return true // a client sends it again under another of its producers
	}
	if old := (*streamhub.ProducerError)(nil); errors.As(r.err, &old) {
		return false
	}
	return errors.Is(r.err, streamhub.ErrUnavailable) || errors.Is(r.err, streamhub.ErrUnknownOutcome) ||
		errors.Is(r.err, streamhub.ErrShutdown) || errors.Is(r.err, streamhub.ErrQuota)
}

// stopped is the error of an append after one that was not made.
func (r *request) stopped() error {
	if r.withdrawn {
		return context.Canceled
	}
	if errors.Is(r.err, streamhub.ErrShutdown) {
		return streamhub.ErrShutdown
	}
	if errors.Is(r.err, streamhub.ErrQuota) {
		return r.err
	}
	reason := streamhub.ReasonBusy
	var unavailable *streamhub.UnavailableError
	if errors.As(r.err, &unavailable) {
		reason = unavailable.Reason
	}
	return &streamhub.UnavailableError{Reason: reason, Err: errors.New("the append before it: " + r.err.Error())}
}

// refuseStopped answers the requests of the queue whose predecessor stops them.
func (a *appender) refuseStopped(g *tail) {
	if !g.stopping {
		return
	}
	g.stopping = false
	queue := g.queue
	g.queue = nil
	for _, r := range queue {
		before := r.after
		if before != nil && before.same != nil {
			before = before.same
		}
		if before != nil && before.stops() {
			err := before.stopped()
			if g.doubted(r) {
				err = unsettled(r, err)
			}
			a.finish(g, r, streamhub.AppendResult{}, err)
		} else {
			g.queue = append(g.queue, r)
		}
	}
}
