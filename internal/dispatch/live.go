package dispatch

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/live"
)

// liveOperations are the rows of the table for live streams.
var liveOperations = []*Operation{
	one("live start", write, func(r *wire.LiveStart) streamhub.Right { return stream(r.Space, r.ID) }, liveStart),
	one("live resume", write, func(r *wire.LiveResume) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveResume) (wire.Result, error) {
			p, err := store.Live(r.Space).Resume(ctx, r.ID, r.Token)
			if err != nil {
				return nil, err
			}
			return producerResult(p), nil
		}),
	// Any gateway may serve any request of a producer: the token alone proves the generation. Resume checks the token
	// in Redis, so no gateway keeps state between two requests.
	one("live publish", write, func(r *wire.LivePublish) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LivePublish) (wire.Result, error) {
			p, err := producer(ctx, store, r.Space, r.ID, r.Token)
			if err != nil {
				return nil, err
			}
			var next uint64
			if len(r.Chunks) == 0 {
				next, err = p.Beat(ctx)
			} else {
				next, err = p.Publish(ctx, r.First, r.Chunks)
			}
			return onSuccess(wire.Number(next), err)
		}),
	one("live end", write, func(r *wire.LiveEnd) streamhub.Right { return stream(r.Space, r.ID) }, liveEnd),
	one("live metadata", write, func(r *wire.LiveMetadata) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveMetadata) (wire.Result, error) {
			p, err := producer(ctx, store, r.Space, r.ID, r.Token)
			if err == nil {
				err = p.SetMetadata(ctx, r.Metadata)
			}
			return nil, err
		}),
	// Messages need the right to write, although they only read: they are for the producer, which presents its token.
	items("live messages", write, func(r *wire.LiveMessages) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveMessages, reply Reply) error {
			p, err := producer(ctx, store, r.Space, r.ID, r.Token)
			if err != nil {
				return err
			}
			return each(p.Messages(ctx, r.After), func(m live.Message) error { return reply.Item((*wire.LiveMessage)(&m)) })
		}),
	// A wait for a stream that has not begun lasts as long as the call, so the answer is an item and
	// not a result. The same holds for live wait and live cancel.
	items("live find", read, func(r *wire.LiveFind) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveFind, reply Reply) error {
			find := store.Live(r.Space).Get
			if r.Wait {
				find = store.Live(r.Space).Await
			}
			s, err := find(ctx, r.ID)
			if err != nil {
				return err
			}
			return reply.Item(wire.Number(s.Generation()))
		}),
	one("live status", read, func(r *wire.LiveStatus) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveStatus) (wire.Result, error) {
			s, err := store.Live(r.Space).Generation(r.ID, r.Generation)
			if err != nil {
				return nil, err
			}
			status, err := s.Status(ctx)
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(&status)
			return wire.LiveStatusResult(text), err
		}),
	items("live subscribe", read, func(r *wire.LiveSubscribe) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveSubscribe, reply Reply) error {
			s, err := store.Live(r.Space).Generation(r.ID, r.Generation)
			if err != nil {
				return err
			}
			o := live.SubscribeOptions{Cursor: r.Cursor, BatchReplay: r.Batch}
			return each(s.Subscribe(ctx, &o), func(c live.Chunk) error { return reply.Item((*wire.LiveChunk)(&c)) })
		}),
	several(items("live follow", read, func(r *wire.LiveFollow) streamhub.Right { return space(r.Space) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveFollow, reply Reply) error {
			o := live.FollowOptions{Cursor: r.Cursor, Generations: r.Generations}
			return each(store.Live(r.Space).Follow(ctx, r.IDs, &o), func(u live.Update) error { return reply.Item((*wire.LiveUpdate)(&u)) })
		}), func(request wire.Request) (string, []string) { r := request.(*wire.LiveFollow); return r.Space, r.IDs }),
	items("live wait", read, func(r *wire.LiveWait) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveWait, reply Reply) error {
			s, err := store.Live(r.Space).Generation(r.ID, r.Generation)
			if err != nil {
				return err
			}
			v, err := s.Wait(ctx)
			return verdictItem(reply, v, err)
		}),
	items("live cancel", write, func(r *wire.LiveCancel) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveCancel, reply Reply) error {
			s, err := store.Live(r.Space).Generation(r.ID, r.Generation)
			if err != nil {
				return err
			}
			v, err := s.Cancel(ctx, &live.CancelOptions{By: r.By, Reason: r.Reason, NoWait: r.NoWait})
			return verdictItem(reply, v, err)
		}),
	one("live send", write, func(r *wire.LiveSend) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveSend) (wire.Result, error) {
			s, err := store.Live(r.Space).Generation(r.ID, r.Generation)
			if err != nil {
				return nil, err
			}
			sequence, err := s.Send(ctx, r.Data, &live.SendOptions{By: r.By, Once: r.Once, Key: r.Key})
			return onSuccess(wire.Number(sequence), err)
		}),
	several(one("live active", read, func(r *wire.LiveActive) streamhub.Right { return space(r.Space) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveActive) (wire.Result, error) {
			// The answer keeps the order of the request and names each id once, even if the request
			// repeats it.
			active, err := store.Live(r.Space).Active(ctx, r.IDs)
			var ids wire.NamesResult
			for _, id := range r.IDs {
				if active[id] {
					ids = append(ids, id)
					delete(active, id)
				}
			}
			return onSuccess(ids, err)
		}), func(request wire.Request) (string, []string) { r := request.(*wire.LiveActive); return r.Space, r.IDs }),
	one("live remove", write, func(r *wire.LiveRemove) streamhub.Right { return stream(r.Space, r.ID) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveRemove) (wire.Result, error) {
			// The generation protects a stream that was begun again meanwhile: a repeat of this
			// request must not remove the next one.
			return nil, port.Of(store).RemoveLive(ctx, r.Space, r.ID, r.Generation)
		}),
	items("live list", read, func(r *wire.LiveList) streamhub.Right { return space(r.Space) },
		func(ctx context.Context, store *hub.Store, r *wire.LiveList, reply Reply) error {
			o := live.ListOptions{AfterID: r.AfterID, AfterGeneration: r.AfterGeneration}
			return each(store.Live(r.Space).List(ctx, &o), func(s live.Stream) error {
				return reply.Item(&wire.LiveRef{ID: s.ID(), Generation: s.Generation()})
			})
		}),
}

// stream and space return the right that a request needs for one live stream, or for all live streams of a space.
func stream(space, id string) streamhub.Right { return streamhub.Right{Space: space, Segment: id} }
func space(space string) streamhub.Right      { return streamhub.Right{Space: space} }

// several makes o require a right to each stream that a request names. A request that names none requires the right to
// the space.
func several(o *Operation, named func(wire.Request) (space string, ids []string)) *Operation {
	whole := o.rights
	o.rights = func(request wire.Request, yield func(streamhub.Right) bool) {
		space, ids := named(request)
		if len(ids) == 0 {
			whole(request, yield)
		}
		for _, id := range ids {
			if !yield(streamhub.Right{Space: space, Segment: id, Write: o.Write}) {
				return
			}
		}
	}
	return o
}

func liveStart(ctx context.Context, store *hub.Store, r *wire.LiveStart) (wire.Result, error) {
	o := live.RegisterOptions{
		Takeover: r.Takeover, Once: r.Once, By: r.By, Key: r.Key, ContentType: r.ContentType, EndedTTL: r.EndedTTL,
	}
	if len(r.Metadata) > 0 {
		o.Metadata = json.RawMessage(r.Metadata)
	}
	p, current, err := store.Live(r.Space).Start(ctx, r.ID, &o)
	switch {
	case err != nil:
		return nil, err
	// Another producer has the stream. That is an answer, not an error: a result without a token.
	case p == nil:
		return &wire.LiveProducerResult{Generation: current.Generation()}, nil
	}
	return producerResult(p), nil
}

// liveEnd ends a generation. If the reply to the first attempt was lost, a repeat finds the stream closed and answers
// with the stored verdict.
func liveEnd(ctx context.Context, store *hub.Store, r *wire.LiveEnd) (wire.Result, error) {
	v := r.Verdict
	if err := verdict.Check(v); err != nil {
		return nil, err
	}
	p, err := producer(ctx, store, r.Space, r.ID, r.Token)
	var closed *streamhub.ClosedError
	switch {
	case errors.As(err, &closed):
		v, err = closed.Verdict, nil
	case err == nil:
		v, err = p.End(ctx, v)
	}
	return onSuccess((*wire.LiveVerdictResult)(&v), err)
}

// producer resumes the producer that sent a request. It has a token, so the stream existed: if Redis does not know it,
// it was lost.
func producer(ctx context.Context, store *hub.Store, space, id, token string) (live.RemoteProducer, error) {
	p, err := store.Live(space).Resume(ctx, id, token)
	if errors.Is(err, streamhub.ErrNotFound) {
		err = &streamhub.HistoryLostError{FirstLost: 1}
	}
	return p, err
}

// producerResult carries the token: only the client that has it may publish.
func producerResult(p live.RemoteProducer) wire.Result {
	return &wire.LiveProducerResult{Token: p.Token(), Generation: p.Generation(), Silence: p.Silence()}
}

// verdictItem answers with v. A verdict without a kind means that there is none yet; see [live.CancelOptions].
func verdictItem(reply Reply, v streamhub.Verdict, err error) error {
	if err != nil {
		return err
	}
	return reply.Item((*wire.LiveVerdictResult)(&v))
}
