package durable

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// A fork is the part of a PUT that names the source: which stream to fork, and where.
type fork struct {
	source *stream
	from   string // the offset as the request has it, "" for the end
	sub    uint64 // bytes or messages of the append after the offset that belong to the fork
}

// forkOf reads the headers of a fork. It returns nil if the request asks for no fork. The source must be a stream of
// the same store.
func forkOf(h http.Header, o *root) (*fork, error) {
	from, sub := h.Get(headerForkedFrom), h.Values(headerForkSub)
	if from == "" {
		if len(sub) > 0 || h.Get(headerForkOffset) != "" {
			return nil, badRequest("a fork needs %s", headerForkedFrom)
		}
		return nil, nil
	}
	f := &fork{from: h.Get(headerForkOffset)}
	path, err := url.PathUnescape(from)
	path, ok := strings.CutPrefix(path, o.path)
	if err != nil || !ok {
		return nil, badRequest("%s names no stream of this store", headerForkedFrom)
	}
	if f.source, err = o.stream(path); err != nil {
		return nil, err
	}
	if len(sub) > 0 {
		if f.sub, err = wholeNumber(sub[0]); err != nil {
			return nil, badRequest("%s: %.64q is no whole number", headerForkSub, sub[0])
		}
	}
	return f, nil
}

// An origin says where a fork began. It is stored with the segment, as text, so that a repeat of the PUT can be told
// from a fork of another place.
type origin struct {
	offset // where the fork began: its earlier offsets are those of its source
	sub    uint64
	path   string
}

func (o *origin) String() string {
	return fmt.Sprintf("%d %d %d %d %s", o.life, o.sequence, o.proof, o.sub, url.PathEscape(o.path))
}

// parseOrigin is the inverse of String. The path comes last and is escaped, so it holds no space.
func parseOrigin(text string) (o origin, ok bool) {
	if text == "" {
		return o, false
	}
	n, err := fmt.Sscanf(text, "%d %d %d %d ", &o.life, &o.sequence, &o.proof, &o.sub)
	parts := strings.SplitN(text, " ", 5)
	if err != nil || n != 4 || len(parts) != 5 {
		return o, false
	}
	o.path, err = url.PathUnescape(parts[4])
	return o, err == nil
}

// same reports whether a stream was created by the same fork request.
func (f *fork) same(status *streamhub.Status) bool {
	o, ok := parseOrigin(status.Origin)
	if !ok || o.path != pathOf(f.source.space, f.source.segment) || o.sub != f.sub {
		return false
	}
	if f.from == "" {
		return true
	}
	at, err := parseOffset(f.from)
	return err == nil && (at == o.offset || at.start() && o.sequence == 0)
}

// create creates the fork, or confirms that it exists. Configuration that the request leaves out is taken from the
// source. In the same space the fork shares the entries of the source; in another one they are copied.
func (f *fork) create(ctx context.Context, s *stream, o *streamhub.CreateOptions, body []byte) (status streamhub.Status, created bool, err error) {
	source, err := f.source.store.Status(ctx, f.source.space, f.source.segment)
	if err != nil {
		return f.confirm(ctx, s, o, false, err)
	}
	if o.ContentType == "" {
		o.ContentType = contentType(&source)
	}
	if mediaType(o.ContentType) != mediaType(contentType(&source)) {
		return status, false, conflict("a fork has the content type of its source: leave Content-Type out, or send that one")
	}
	o.ContentType = contentType(&source)
	switch {
	case o.TTL > 0, !o.ExpiresAt.IsZero():
	case source.TTL > 0:
		o.TTL = source.TTL
	case !source.ExpiresAt.IsZero():
		o.ExpiresAt = source.ExpiresAt
	}
	if o.Records, err = recordsOf(o.ContentType, body, true); err != nil {
		return status, false, err
	}
	at := origin{offset: tailOf(&source), sub: f.sub, path: pathOf(f.source.space, f.source.segment)}
	if f.from != "" {
		place, err := parseOffset(f.from)
		if err != nil {
			return status, false, badRequest("%s: %.64q is not an offset that a stream gave", headerForkOffset, f.from)
		}
		_, err = place.at(&source)
		if errors.Is(err, streamhub.ErrTrimmed) {
			return status, false, err
		}
		// The offset must be a proven position in this stream: after a loss of history the fork would contain entries
		// that the client has never read.
		proven, provenErr := f.source.proven(ctx, place, &source)
		switch {
		case provenErr != nil:
			return status, false, provenErr
		case err != nil || !proven:
			return status, false, badRequest("%s: the source has no such offset", headerForkOffset)
		case place.start():
			place = offsetOf(at.life, &source.Kept)
		}
		at.offset = place
	}
	o.Origin = at.String()
	limit, part, err := f.splitPoint(ctx, &source, at.sequence)
	if err != nil {
		return status, false, err
	}
	if part != nil {
		o.Records = append([]streamhub.Record{{Payload: part}}, o.Records...)
	}
	if f.source.space == s.space {
		// With the incarnation the create fails if the source was deleted and created again after its status was read.
		o.ForkOf, o.ForkAt, o.ForkIncarnation = f.source.segment, &limit, source.Position.Incarnation
	} else if o.Records, err = f.copy(ctx, limit, o.Records); err != nil {
		return status, false, err
	}
	status, created, err = s.store.Create(ctx, s.space, s.segment, o)
	if err == nil && created {
		return status, true, nil
	}
	return f.confirm(ctx, s, o, true, err)
}

// confirm checks whether a fork that could not be created, because of failed, exists already. With whole, o includes
// the configuration of the source. Otherwise the source is gone, and only the request itself can be compared.
func (f *fork) confirm(ctx context.Context, s *stream, o *streamhub.CreateOptions, whole bool, failed error) (streamhub.Status, bool, error) {
	status, err := s.store.Status(ctx, s.space, s.segment)
	switch {
	case err == nil && f.same(&status) && (whole && sameConfiguration(&status, o) || !whole && f.compatible(&status, o)):
		return status, false, nil
	case err == nil:
		return status, false, conflict("the stream exists with another configuration: use another path, or delete it first")
	}
	deleted := (*streamhub.DeletedError)(nil)
	if errors.As(failed, &deleted) && deleted.Held {
		return status, false, conflict("the source was deleted, and cannot be forked any more")
	}
	if failed == nil {
		failed = err
	}
	return status, false, failed
}

// compatible compares only the configuration that the request itself has: the source, which would supply the rest, is
// gone.
func (f *fork) compatible(status *streamhub.Status, o *streamhub.CreateOptions) bool {
	asked := *o
	if asked.ContentType == "" {
		asked.ContentType = contentType(status)
	}
	if asked.TTL == 0 && asked.ExpiresAt.IsZero() {
		asked.TTL = status.TTL
		if asked.TTL == 0 && !status.ExpiresAt.IsZero() {
			asked.ExpiresAt = status.ExpiresAt
		}
	}
	return sameConfiguration(status, &asked)
}

// splitPoint resolves the sub-offset. The fork shares the entries of the source up to limit; part is the beginning of
// the next entry, which is copied.
func (f *fork) splitPoint(ctx context.Context, source *streamhub.Status, after uint64) (limit uint64, part []byte, err error) {
	if f.sub == 0 {
		return after, nil, nil
	}
	outside := badRequest("%s reaches beyond the next append", headerForkSub)
	if after >= source.LastSequence {
		return 0, nil, outside
	}
	left, messages := f.sub, isJSON(source.ContentType)
	var append streamhub.TRX
	for e, err := range f.source.store.ConsumeSegment(ctx, f.source.space, f.source.segment, &streamhub.ReadOptions{FromSequence: after + 1}) {
		if err != nil {
			return 0, nil, err
		}
		if e.Sequence == after+1 {
			append = e.TRX
		}
		if e.TRX != append {
			return 0, nil, outside
		}
		size := uint64(len(e.Payload))
		if messages {
			size = 1
		}
		if left < size {
			return e.Sequence - 1, e.Payload[:left], nil
		}
		if left -= size; left == 0 {
			return e.Sequence, nil, nil
		}
	}
	return 0, nil, outside
}

// copy reads the entries up to limit for a fork in another space, which cannot share them. They must fit into one
// append, so that the fork is created in one step.
func (f *fork) copy(ctx context.Context, limit uint64, rest []streamhub.Record) ([]streamhub.Record, error) {
	var records []streamhub.Record
	size := 0
	if limit > 0 {
		for e, err := range f.source.store.ConsumeSegment(ctx, f.source.space, f.source.segment, &streamhub.ReadOptions{ToSequence: limit}) {
			if err != nil {
				return nil, err
			}
			// The beginning of the source was trimmed, so the copied entries would get other sequences.
			if e.Sequence != uint64(len(records))+1 {
				return nil, &goneError{}
			}
			if size += len(e.Payload); size > streamhub.MaxFrameBytes || len(records) >= streamhub.MaxFrameRecords {
				return nil, &statusError{http.StatusRequestEntityTooLarge, "the source is too large to be copied into another space"}
			}
			records = append(records, streamhub.Record{Payload: e.Payload, Metadata: e.Metadata})
		}
	}
	return append(records, rest...), nil
}
