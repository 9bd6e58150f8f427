package hotlog

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"mime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Append adds records, all or none, to the end of a segment, which is created if need be. Records
// may not be changed before it returns. Appends of one goroutine keep their order.
//
// If ctx ends before the append was sent nothing happened; afterwards the error is an
// [streamhub.UnknownOutcomeError] and the call may be repeated, on the same Log, with the TRX id
// that the error carries. A Log remembers the last 64 appends of a segment that may be repeated, for
// ten minutes unless it appends to very many segments; a named producer is remembered by Redis. A
// result comes with an error only for [streamhub.ErrNotConfirmed].
func (s *Store) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	return s.append(ctx, "append", space, segment, records, options)
}

// append is [Store.Append] for the call op.
func (s *Store) append(ctx context.Context, op, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (result streamhub.AppendResult, err error) {
	req, err := s.newAppend(space, segment, records, options)
	if err == nil {
		result, err = s.log.appender.do(ctx, req)
	}
	return result, s.fail(op, space, segment, err)
}

// AppendAll makes several appends at once. Those to different segments travel together, those to one segment are stored
// in the order given; results and errors are in the order of appends. Each succeeds or fails by itself, with one
// exception. An append that ends with [streamhub.ErrUnavailable] or [streamhub.ErrUnknownOutcome] can still be stored.
// So the later appends to the same segment are not made and end with ErrUnavailable. The failed appends can be repeated
// in their order.
func (s *Store) AppendAll(ctx context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	results, errs := make([]streamhub.AppendResult, len(appends)), make([]error, len(appends))
	if err := ctx.Err(); err != nil {
		for i, a := range appends {
			errs[i] = s.fail("append", a.Space, a.Segment, err)
		}
		return results, errs
	}
	submissions, chain := make([]*Submission, len(appends)), chain{}
	for i, a := range appends {
		submissions[i] = &Submission{Append: a}
		// Each append depends on the one before it to the same segment.
		chain.add(submissions[i])
	}
	s.Submit(submissions)
	for i, sub := range submissions {
		results[i], errs[i] = sub.Wait(ctx)
	}
	return results, errs
}

// Create makes a segment. If the segment exists with the same configuration, created is false and nothing changes; with
// another configuration the error is ErrConflict.
func (s *Store) Create(ctx context.Context, space, segment string, options *streamhub.CreateOptions) (status streamhub.Status, created bool, err error) {
	defer func() { err = s.fail("create", space, segment, err) }()
	if options == nil {
		options = &streamhub.CreateOptions{}
	}
	at, err := s.place(space, segment)
	if err != nil {
		return status, false, err
	}
	req, err := s.newCreate(ctx, at, options)
	var r streamhub.AppendResult
	if err == nil {
		r, err = s.log.appender.do(ctx, req)
	}
	if err != nil {
		status, err = s.existing(ctx, at, options, err)
		return status, false, err
	}
	status, err = s.created(ctx, at, options, &r)
	return status, err == nil, redisx.Unsure(err)
}

// existing returns the status of the segment that a create has found. cause is why nothing was created. After a quota
// error, or if the parent of a fork is gone, the segment may exist nevertheless.
func (s *Store) existing(ctx context.Context, at place, options *streamhub.CreateOptions, cause error) (status streamhub.Status, err error) {
	met := errors.Is(cause, errExists)
	if !met && !errors.Is(cause, streamhub.ErrQuota) && !errors.Is(cause, streamhub.ErrNotFound) {
		return status, cause
	}
	m, err := s.readMeta(ctx, at)
	if err == nil && m.gone() {
		err = streamhub.ErrNotFound
	}
	switch {
	case err != nil && met:
		return status, err
	case err != nil:
		return status, cause
	}
	if err := sameConfiguration(&m, at, options); err != nil {
		return status, err
	}
	if err := s.log.confirm(ctx, at, streamhub.Position{Incarnation: m.incarnation}, s.log.opt.Durability); err != nil {
		return status, err
	}
	return s.statusOf(ctx, at, &m)
}

// created is the status of a segment that a create has made.
func (s *Store) created(ctx context.Context, at place, options *streamhub.CreateOptions, r *streamhub.AppendResult) (status streamhub.Status, err error) {
	m, err := s.readMeta(ctx, at)
	switch {
	case err != nil:
		return status, err
	case !m.gone():
		return s.statusOf(ctx, at, &m)
	case !options.ExpiresAt.IsZero() && !r.Timestamp.Before(options.ExpiresAt):
		return status, fmt.Errorf("%w: it has expired already, at %v", streamhub.ErrNotFound, options.ExpiresAt.UTC())
	}
	return createdAs(at, options, r), nil // the segment has expired or was deleted since
}

// createdAs returns the status that a segment had when it was created. For a fork it leaves out the entries of the
// parent.
func createdAs(at place, o *streamhub.CreateOptions, r *streamhub.AppendResult) streamhub.Status {
	s := streamhub.Status{
		Space: at.space, Segment: at.name, State: streamhub.StateOpen, Generation: r.Generation, Position: r.Position, LastSequence: r.Last,
		ContentType: o.ContentType, TTL: o.TTL, ExpiresAt: millis.Time(millis.Of(o.ExpiresAt)), Origin: o.Origin, Verdict: o.Closed, Parent: o.ForkOf,
	}
	if len(o.Records) > 0 {
		s.FirstSequence, s.FirstTimestamp, s.LastTimestamp = r.First, r.Timestamp, r.Timestamp
	}
	if o.ForkOf != "" {
		s.ForkedAt = r.Last - uint64(len(o.Records))
	}
	if o.TTL > 0 {
		s.ExpiresAt = r.Timestamp.Add(o.TTL)
	}
	if o.Closed != nil {
		s.State = streamhub.StateClosed
	}
	return s
}

// sameConfiguration compares the options of Create with the existing segment. Entries, generation, origin and the
// content of a verdict are not part of the configuration.
func sameConfiguration(m *meta, at place, options *streamhub.CreateOptions) error {
	have := m.status(at.space, at.name)
	switch {
	case normalType(have.ContentType) != normalType(options.ContentType):
		return fmt.Errorf("%w: its content type is %q, not %q", streamhub.ErrConflict, have.ContentType, options.ContentType)
	case m.ttl != options.TTL.Milliseconds(), m.ttl == 0 && m.deadline != millis.Of(options.ExpiresAt):
		return fmt.Errorf("%w: it has %s, not %s", streamhub.ErrConflict, lifetime(have.TTL, have.ExpiresAt), lifetime(options.TTL, options.ExpiresAt))
	case (m.state == stateClosed) != (options.Closed != nil):
		return fmt.Errorf("%w: it is %s", streamhub.ErrConflict, have.State)
	case have.Parent != options.ForkOf, options.ForkAt != nil && have.ForkedAt != *options.ForkAt:
		return fmt.Errorf("%w: it is %s, not %s", streamhub.ErrConflict, forkText(have.Parent, &have.ForkedAt), forkText(options.ForkOf, options.ForkAt))
	}
	return nil
}

// lifetime and forkText say in an error how long a segment lives, and what it is a fork of.
func lifetime(ttl time.Duration, end time.Time) string {
	switch {
	case ttl > 0:
		return fmt.Sprintf("a time to live of %v", ttl)
	case end.IsZero():
		return "a life without end"
	}
	return "the deadline " + end.UTC().Format(time.RFC3339Nano)
}

func forkText(parent string, at *uint64) string {
	switch {
	case parent == "":
		return "a segment of its own"
	case at == nil:
		return fmt.Sprintf("a fork of %q", parent)
	}
	return fmt.Sprintf("a fork of %q at %d", parent, *at)
}

// CloseSegment ends a segment with a verdict. A segment that is closed already is an
// [streamhub.ClosedError].
func (s *Store) CloseSegment(ctx context.Context, space, segment string, verdict streamhub.Verdict, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	o := streamhub.AppendOptions{}
	if options != nil {
		o = *options
	}
	o.Close, o.MustExist = &verdict, true
	return s.append(ctx, "close", space, segment, nil, &o)
}

// orderOptions are the rare conditions of a frame; see lua/append.lua.
type orderOptions struct {
	Told       string     `json:"a,omitempty"`
	MustExist  bool       `json:"m,omitempty"`
	CheckOnly  bool       `json:"k,omitempty"`
	Digest     string     `json:"d,omitempty"`
	Verdict    string     `json:"v,omitempty"`
	Content    string     `json:"c,omitempty"`
	Normal     string     `json:"n,omitempty"`
	StreamSeq  string     `json:"q,omitempty"`
	TTL        string     `json:"w,omitempty"`
	Deadline   string     `json:"x,omitempty"`
	Origin     string     `json:"o,omitempty"`
	CreateOnly bool       `json:"z,omitempty"`
	Parent     *forkOrder `json:"p,omitempty"`
}

// A forkOrder is what the script needs to know about the parent of a fork: its incarnation, the last shared sequence,
// and the TRX number and proof at that sequence, from which the fork continues. The keys are passed as KEYS, not in the
// JSON.
type forkOrder struct {
	Segment     string `json:"segment"`
	Incarnation string `json:"inc"`
	Limit       string `json:"cap"`
	Number      string `json:"number"`
	Proof       string `json:"proof"`

	metaKey, forksKey string
}

// newAppend makes the request of an append, and checks everything that can be checked without Redis.
func (s *Store) newAppend(space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (*request, error) {
	at, err := s.place(space, segment)
	if err != nil {
		return nil, err
	}
	o := streamhub.AppendOptions{}
	if options != nil {
		o = *options
	}
	if len(records) == 0 && o.Close == nil {
		return nil, fmt.Errorf("%w: no records: an append without any has to close the segment", streamhub.ErrInvalidArgument)
	}
	if len(records) > 0 {
		if err := s.log.room(at.spaceKeys); err != nil {
			return nil, err
		}
	}
	req := s.newRequest(at, o.Generation)
	req.expect, req.incarnation, req.id = o.ExpectedSequence, o.Incarnation, o.TRX
	if err := s.log.contents(req, records, o.Close, o.ContentType, o.StreamSeq); err != nil {
		return nil, err
	}
	req.opt.MustExist, req.opt.CheckOnly = o.MustExist, o.CheckOnly
	if o.Durability != nil {
		if err := checkDurability(*o.Durability); err != nil {
			return nil, err
		}
		req.durability = *o.Durability
	}
	if err := s.identify(req, o.Producer); err != nil {
		return nil, err
	}
	if req.records > 0 {
		if req.overQuota = s.overQuota(); req.overQuota != nil {
			if req.producer == nil && !req.named {
				return nil, req.overQuota
			}
			req.opt.CheckOnly = true // it may be a repeat, whose answer does not depend on the quota
		}
	}
	req.plain = req.opt == orderOptions{} && req.producer == nil && req.expect == 0 && req.records > 0
	return req, nil
}

// newCreate makes the request of a create. It is an append without an expected sequence, which may have records, a
// verdict and a parent.
func (s *Store) newCreate(ctx context.Context, at place, o *streamhub.CreateOptions) (*request, error) {
	req := s.newRequest(at, o.Generation)
	req.id = newID()
	if err := s.log.contents(req, o.Records, o.Closed, o.ContentType, ""); err != nil {
		return nil, err
	}
	req.opt.CreateOnly = true
	if err := req.opt.expire(o.TTL, o.ExpiresAt); err != nil {
		return nil, err
	}
	if len(o.Origin) > streamhub.MaxOriginLength {
		return nil, fmt.Errorf("%w: an origin of %d bytes, the limit is %d", streamhub.ErrTooLarge, len(o.Origin), streamhub.MaxOriginLength)
	}
	if !utf8.ValidString(o.Origin) {
		return nil, fmt.Errorf("%w: an origin that is not UTF-8", streamhub.ErrInvalidArgument)
	}
	req.opt.Origin = o.Origin
	if o.ForkOf == "" && (o.ForkAt != nil || o.ForkIncarnation != 0) {
		return nil, fmt.Errorf("%w: ForkAt and ForkIncarnation need ForkOf", streamhub.ErrInvalidArgument)
	}
	err := s.overQuota()
	if err == nil && o.ForkOf != "" {
		if req.opt.Parent, err = s.newFork(ctx, at, o); errors.Is(err, streamhub.ErrNotFound) {
			err = fmt.Errorf("the segment %q that it is to fork: %w", o.ForkOf, err)
		}
	}
	return req, err
}

func (s *Store) newRequest(at place, generation uint64) *request {
	return &request{place: at, generation: generation, durability: s.log.opt.Durability, done: make(chan struct{})}
}

// contents checks the contents and the numbers of an append or a create, and encodes them.
func (l *Log) contents(req *request, records []streamhub.Record, verdict *streamhub.Verdict, contentType, streamSeq string) (err error) {
	if err := l.encodeRecords(req, records); err != nil {
		return err
	}
	if max(req.expect, req.generation) > streamhub.MaxInteger {
		return fmt.Errorf("%w: expected sequence %d and generation %d have to be below 2^53", streamhub.ErrInvalidArgument, req.expect, req.generation)
	}
	if err := checkTexts(contentType, streamSeq); err != nil {
		return err
	}
	if contentType != "" {
		req.opt.Content, req.opt.Normal = contentType, normalType(contentType)
	}
	req.opt.StreamSeq = hex.EncodeToString([]byte(streamSeq))
	if verdict != nil {
		req.opt.Verdict, err = encodeVerdict(*verdict)
	}
	return err
}

// identify gives the request, whose body is encoded, its producer and the id by which a repeat is recognised.
func (s *Store) identify(req *request, p *streamhub.Producer) error {
	if p != nil {
		if err := streamhub.CheckName("producer", p.ID); err != nil {
			return err
		}
		if max(p.Epoch, p.Seq) > streamhub.MaxInteger {
			return fmt.Errorf("%w: epoch %d and seq %d of the producer have to be below 2^53", streamhub.ErrInvalidArgument, p.Epoch, p.Seq)
		}
		req.producer = &streamhub.Producer{ID: p.ID, Epoch: p.Epoch, Seq: p.Seq}
		req.opt.Digest = fmt.Sprintf("%08x", crc32.Checksum(req.body, castagnoli))
	}
	switch {
	case req.id == uuid.Nil && p != nil: // a repeat by another process carries the same id
		name := fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d\x00%d", req.space, req.name, p.ID, p.Epoch, p.Seq)
		req.id = uuid.NewSHA1(s.id, name)
	case req.id == uuid.Nil:
		req.id = newID()
	case p == nil:
		req.named, req.sum = true, crc32.Checksum(req.body, castagnoli)
	}
	return nil
}

// expire sets a time to live or a deadline.
func (o *orderOptions) expire(ttl time.Duration, at time.Time) error {
	if ttl < 0 || ttl > 0 && (ttl.Milliseconds() == 0 || !at.IsZero()) {
		return fmt.Errorf("%w: a time to live of %v: want a millisecond or more, and no ExpiresAt beside it", streamhub.ErrInvalidArgument, ttl)
	}
	if ttl > 0 {
		o.TTL = strconv.FormatInt(ttl.Milliseconds(), 10)
	}
	if !at.IsZero() {
		ms := millis.Of(at)
		if ms <= 0 || ms > streamhub.MaxInteger {
			return fmt.Errorf("%w: ExpiresAt is %v: want a time after 1970 whose milliseconds are below 2^53", streamhub.ErrInvalidArgument, at)
		}
		o.Deadline = strconv.FormatInt(ms, 10)
	}
	return nil
}

// encodeRecords checks the records against the limits and encodes them into the body of the request.
// The body is what a frame carries; several requests may share one frame.
func (l *Log) encodeRecords(req *request, records []streamhub.Record) error {
	if len(records) > l.opt.MaxFrameRecords {
		return fmt.Errorf("%w: an append of %d records, the limit is %d: make several", streamhub.ErrTooLarge, len(records), l.opt.MaxFrameRecords)
	}
	size, payload, most := 0, 0, min(l.opt.MaxFrameBytes, streamhub.MaxFrameBytes)
	for i := range records {
		r := &records[i]
		if n := recordSize(r); n > l.opt.MaxRecordBytes || len(r.Metadata) > maxMetadata {
			return fmt.Errorf("%w: record %d has %d bytes and %d pairs of metadata, the limits are %d and %d",
				streamhub.ErrTooLarge, i, n, len(r.Metadata), l.opt.MaxRecordBytes, maxMetadata)
		}
		size += recordBytes(r)
		if payload += recordSize(r); payload > most {
			return tooLong(payload, most)
		}
		switch {
		case i == 0 && r.Sequence != 0:
			if req.expect != 0 && req.expect != r.Sequence {
				return fmt.Errorf("%w: the first record names sequence %d, the append %d", streamhub.ErrInvalidArgument, r.Sequence, req.expect)
			}
			req.expect = r.Sequence
		case i > 0 && records[0].Sequence == 0 && r.Sequence != 0, i > 0 && records[0].Sequence != 0 && r.Sequence != records[i-1].Sequence+1:
			return fmt.Errorf("%w: record %d names sequence %d after %d: records name sequences that follow on each other, or none", streamhub.ErrInvalidArgument, i, r.Sequence, records[i-1].Sequence)
		}
	}
	req.body = make([]byte, 0, size)
	for i := range records {
		req.body = appendRecord(req.body, &records[i])
	}
	if size := len(req.body) + frameHeader + len(l.opt.Node); size > l.opt.MaxFrameBytes {
		return tooLong(size, l.opt.MaxFrameBytes)
	}
	req.records = len(records)
	return nil
}

// checkTexts bounds the texts that a segment keeps in its meta.
func checkTexts(contentType, streamSeq string) error {
	if n := len(contentType); n > streamhub.MaxContentTypeLength {
		return fmt.Errorf("%w: a content type of %d bytes, the limit is %d", streamhub.ErrTooLarge, n, streamhub.MaxContentTypeLength)
	}
	if !utf8.ValidString(contentType) {
		return fmt.Errorf("%w: the content type %.64q is not UTF-8", streamhub.ErrInvalidArgument, contentType)
	}
	if n := len(streamSeq); n > streamhub.MaxStreamSeqLength {
		return fmt.Errorf("%w: a stream seq of %d bytes, the limit is %d", streamhub.ErrTooLarge, n, streamhub.MaxStreamSeqLength)
	}
	return nil
}

func tooLong(size, limit int) error {
	return fmt.Errorf("%w: an append of %d bytes, the limit is %d: make several", streamhub.ErrTooLarge, size, limit)
}

// recordSize returns the size that counts against the limit of a record.
func recordSize(r *streamhub.Record) int {
	n := len(r.Payload)
	for k, v := range r.Metadata {
		n += len(k) + len(v)
	}
	return n
}

// encodeVerdict writes a verdict as the JSON that Redis keeps in field s of the meta.
func encodeVerdict(v streamhub.Verdict) (string, error) {
	if !v.Kind.Known() {
		return "", fmt.Errorf("%w: %q is no kind of verdict: use one of the Verdict constants", streamhub.ErrInvalidArgument, v.Kind)
	}
	// Package json would replace the bytes that are none.
	if !utf8.ValidString(v.Reason) {
		return "", fmt.Errorf("%w: the reason %.64q is not UTF-8", streamhub.ErrInvalidArgument, v.Reason)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%w: the output of the verdict is not JSON: %w", streamhub.ErrInvalidArgument, err)
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%w: the output of the verdict is not UTF-8, which JSON is", streamhub.ErrInvalidArgument)
	}
	if len(b) > streamhub.MaxRecordBytes {
		return "", fmt.Errorf("%w: a verdict of %d bytes, the limit is %d", streamhub.ErrTooLarge, len(b), streamhub.MaxRecordBytes)
	}
	return string(b), nil
}

// normalType returns the form in which content types are compared: without parameters, in lower case.
func normalType(t string) string {
	media, _, err := mime.ParseMediaType(t)
	if err != nil {
		media, _, _ = strings.Cut(t, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media
}
