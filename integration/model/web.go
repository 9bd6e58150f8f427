package model

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// This file speaks Durable Streams over HTTP to segments that all other steps use too. What a request does is what the
// model says of the call behind it, made by a process that remembers nothing. What is answered is what docs/durable-streams.md
// says.

// web is what a program knows of Durable Streams.
type web struct {
	transport *http.Transport
	places    []place
	lives     map[uint64]uint64 // what offsets call a life, by the name of the model
	tags      map[string]tag    // by what was read
	tagged    []place           // what there are tags for
}

func newWeb() web {
	return web{&http.Transport{}, nil, map[uint64]uint64{}, map[string]tag{}, nil}
}

// A forked is what a fork over HTTP keeps of its source.
type forked struct {
	of       string
	life     uint64
	sequence uint64
	at       *entry
}

func (f *forked) same(p place) bool {
	return f.life == p.life && f.sequence == p.sequence && f.at == p.at
}

// A place is an offset that was seen, and what it stands for.
type place struct {
	space, segment string
	text           string
	life           uint64 // see life.stream
	sequence       uint64
	at             *entry // nil at the beginning
}

// A tag is an ETag with what it was given for.
type tag struct {
	etag    string
	life    uint64
	entries []*entry
	closed  bool
}

// A reply is an answer over HTTP.
type reply struct {
	status int
	header http.Header
	body   string
}

// origin is what the model says that a fork over HTTP notes of its origin. The store notes names that only it knows.
const origin = "a stream"

// stream is the life that offsets name: a fork over HTTP has the offsets of its source.
func (l *life) stream() uint64 {
	if l.source != nil {
		return l.source.life
	}
	return l.id
}

// place is where a life is after a sequence.
func (l *life) place(s Step, sequence uint64) place {
	return place{space: s.Space, segment: s.Seg, life: l.stream(), sequence: sequence, at: l.at(sequence)}
}

// statusOf is what an error is answered with.
func statusOf(err error) int {
	var deleted *streamhub.DeletedError
	if errors.As(err, &deleted) && deleted.Held {
		return http.StatusGone
	}
	status, _ := httpstatus.Of(streamhub.CodeOf(err))
	return status
}

// stream runs a step over HTTP.
func (r *run) stream(s Step) error {
	base := r.way.Streams(s.By)
	if base == "" {
		return nil
	}
	r.model.procs[webProcess], r.model.fates = nil, nil
	if l := r.model.find(s.Space, s.Seg); l != nil && r.model.due(l) && s.Producer != "" {
		// A repeat is answered although the deadline has passed, unless the gateway has to look.
		if err := r.meetOne(s, s.Seg); err != nil {
			return err
		}
	}
	address := base + "/" + s.Space + "/" + s.Seg
	switch s.Op {
	case Put:
		return r.put(s, address)
	case Post:
		return r.post(s, address)
	case Get:
		return r.get(s, address)
	case Head:
		return r.head(s, address)
	}
	return r.drop(s, address)
}

// webProcess is a process that has done nothing.
const webProcess = -1

func (r *run) request(ctx context.Context, method, address, body string, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	return r.web.transport.RoundTrip(req)
}

func (r *run) do(method, address, body string, headers ...string) (*reply, error) {
	answer, err := r.request(r.ctx, method, address, body, headers...)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	r.way.Lose(0, 0, false)
	return &reply{answer.StatusCode, answer.Header, string(b)}, err
}

// doubtful reports whether the answer says that the outcome is unknown, where that may be.
func (r *run) doubtful(s Step, got *reply) bool {
	if got.status != http.StatusServiceUnavailable || s.Lose+s.Drop == 0 && !r.slow() {
		return false
	}
	r.outcome = "unknown_outcome"
	return true
}

// answers compares a status, and the place in the header of an answer where one is given.
func (r *run) answers(got *reply, status int, at *place) error {
	if got.status != status {
		return fmt.Errorf("the answer is %d %q, want %d", got.status, got.body, status)
	}
	if at == nil {
		return nil
	}
	return r.offset(got.header.Get("Stream-Next-Offset"), *at)
}

// ending compares what an answer says of the end of a stream.
func ending(got *reply, closed bool) error {
	return same("header Stream-Closed", got.header.Get("Stream-Closed") == "true", closed)
}

// offset compares an offset with the place that it has to stand for, and remembers it.
func (r *run) offset(text string, want place) error {
	parts := strings.Split(text, "_")
	if len(parts) != 3 || len(text) != 50 {
		return fmt.Errorf("the offset is %q", text)
	}
	life, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return err
	}
	sequence, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return err
	}
	proof := uint64(0)
	for _, c := range []byte(parts[2]) {
		proof = proof<<4 | uint64(c-'a')
	}
	if sequence != want.sequence {
		return fmt.Errorf("the offset is after %d, want %d", sequence, want.sequence)
	}
	if err := bind("life of a stream", r.web.lives, want.life, life); err != nil {
		return err
	}
	switch {
	case want.at != nil && proof != 0:
		err = bind("proof", r.names.proofs, proofOf(want.at.trx), proof)
	case want.at == nil && proof != 0:
		err = fmt.Errorf("the offset %q has a proof of nothing", text)
	}
	want.text = text
	r.web.places = append(r.web.places, want)
	return err
}

// pickPlace counts back over the offsets of a stream, or of any.
func (r *run) pickPlace(s Step, segment string) (place, bool) {
	var fit []place
	for _, p := range slices.Backward(r.web.places) {
		if s.Any || p.space == s.Space && p.segment == segment {
			fit = append(fit, p)
		}
	}
	if s.Cursor == 0 || len(fit) == 0 {
		return place{}, false
	}
	return fit[(s.Cursor-1)%len(fit)], true
}

// post appends, closes, or both.
func (r *run) post(s Step, address string) error {
	o := &streamhub.AppendOptions{MustExist: true, StreamSeq: s.Order}
	content := fmt.Sprint(r.index)
	headers := []string{"Stream-Seq", s.Order}
	if s.Producer != "" {
		o.Producer = r.producer(s)
		content = fmt.Sprint(s.Producer, o.Producer.Epoch, o.Producer.Seq)
		headers = append(headers, "Producer-Id", s.Producer, "Producer-Epoch", fmt.Sprint(o.Producer.Epoch), "Producer-Seq", fmt.Sprint(o.Producer.Seq))
	}
	if s.Close != "" {
		o.Close = &streamhub.Verdict{Kind: streamhub.VerdictDone}
		headers = append(headers, "Stream-Closed", "true")
	}
	var records []streamhub.Record
	body := ""
	if s.N > 0 || o.Close == nil {
		body, o.ContentType = "<"+content+">", s.Type
		records = []streamhub.Record{{Payload: []byte(body)}}
		headers = append(headers, "Content-Type", s.Type)
	}
	match, matched := r.pickPlace(s, s.Seg)
	if matched {
		headers = append(headers, "If-Match", `"`+match.text+`"`)
	}
	got, err := r.do(http.MethodPost, address, body, headers...)
	if err != nil {
		return err
	}
	if matched {
		if _, err := r.model.Status(s.Space, s.Seg); err != nil {
			if r.doubtful(s, got) {
				return nil
			}
			return r.answers(got, statusOf(err), nil)
		}
	}
	l := r.model.find(s.Space, s.Seg)
	if l != nil && l.contentType == "" {
		o.ContentType = "" // it takes any
	}
	if matched {
		o.Incarnation, o.ExpectedSequence = l.id, streamhub.MaxInteger
		if match.life == l.stream() && match.sequence == l.last() && match.at == l.tip() {
			o.ExpectedSequence = l.last() + 1
		}
	}
	if r.doubtful(s, got) {
		status, err := r.way.Store(0).Status(r.ctx, s.Space, s.Seg)
		if l = r.model.look(s.Space, s.Seg); err != nil || l == nil || l.ended != nil ||
			status.LastSequence == l.last() && (status.State == streamhub.StateClosed) == (l.closed != nil) {
			return nil
		}
		if _, err := r.model.Append(webProcess, s.Space, s.Seg, records, o); err != nil {
			return fmt.Errorf("it was made though the model refuses it: %w", err)
		}
		return nil
	}
	want, wantErr := r.model.Append(webProcess, s.Space, s.Seg, records, o)
	r.outcome = string(streamhub.CodeOf(wantErr))
	return r.posted(s, got, o, len(records) > 0, want, wantErr)
}

// posted compares the answer to an append.
func (r *run) posted(s Step, got *reply, o *streamhub.AppendOptions, data bool, want streamhub.AppendResult, wantErr error) error {
	l := r.model.find(s.Space, s.Seg)
	var (
		closed   *streamhub.ClosedError
		producer *streamhub.ProducerError
		sequence *streamhub.SequenceError
	)
	known := func(what string, value uint64) error {
		return same("header "+what, got.header.Get(what), strconv.FormatUint(value, 10))
	}
	end := func() *place { p := l.place(s, l.last()); return &p }
	switch {
	case wantErr == nil:
		status := http.StatusNoContent
		if o.Producer != nil {
			if data && !want.Repeated && (got.status != http.StatusNoContent || s.Lose == 0 && !r.slow()) {
				status = http.StatusOK
			}
			if err := errors.Join(known("Producer-Epoch", o.Producer.Epoch), known("Producer-Seq", o.Producer.Seq)); err != nil {
				return err
			}
			r.turns[turn{s.Space, s.Seg, o.Producer.ID}] = *o.Producer
		}
		if want.Repeated {
			r.outcome = "repeated"
		}
		at := l.place(s, want.Last)
		return errors.Join(r.answers(got, status, &at), ending(got, l.closed != nil), r.renewed(s, l))
	case errors.As(wantErr, &producer) && (errors.Is(wantErr, streamhub.ErrBatchMismatch) || errors.Is(wantErr, streamhub.ErrUnknownOutcome)):
		r.outcome = "repeated"
		return errors.Join(r.answers(got, http.StatusNoContent, end()), known("Producer-Seq", producer.ExpectedSeq-1),
			ending(got, l.closed != nil), r.renewed(s, l))
	case errors.As(wantErr, &closed):
		status := http.StatusConflict
		if !data && o.Producer == nil {
			status = http.StatusNoContent
		}
		return errors.Join(r.answers(got, status, end()), ending(got, true), r.renewed(s, l))
	case errors.As(wantErr, &sequence):
		return r.answers(got, http.StatusPreconditionFailed, end())
	case errors.Is(wantErr, streamhub.ErrProducerFenced):
		errors.As(wantErr, &producer)
		return errors.Join(r.answers(got, http.StatusForbidden, nil), known("Producer-Epoch", producer.Epoch))
	case errors.As(wantErr, &producer) && producer.Epoch < o.Producer.Epoch:
		return r.answers(got, http.StatusBadRequest, nil)
	case errors.As(wantErr, &producer):
		return errors.Join(r.answers(got, http.StatusConflict, nil), known("Producer-Expected-Seq", producer.ExpectedSeq), known("Producer-Received-Seq", o.Producer.Seq))
	}
	return r.answers(got, statusOf(wantErr), nil)
}

// renewed learns whether the deadline of a stream was renewed by what was just done. That is done once in a while, by the
// clock of the machine.
func (r *run) renewed(s Step, l *life) error {
	if l == nil || l.ttl == 0 || l.ended != nil {
		return nil
	}
	status, err := r.way.Store(0).Status(r.ctx, s.Space, s.Seg)
	if err != nil || status.ExpiresAt.UnixMilli() == l.deadline {
		return err
	}
	deadline, err := r.model.Touch(s.Space, s.Seg)
	return errors.Join(err, same("deadline", status.ExpiresAt.UnixMilli(), deadline.UnixMilli()))
}

// put creates a stream or a fork.
func (r *run) put(s Step, address string) error {
	o := &streamhub.CreateOptions{ContentType: s.Type, TTL: time.Duration(s.TTL) * time.Millisecond}
	headers := []string{"Content-Type", s.Type}
	if s.TTL > 0 {
		headers = append(headers, "Stream-TTL", fmt.Sprint(s.TTL/1000))
	}
	if s.Close != "" {
		o.Closed = &streamhub.Verdict{Kind: streamhub.VerdictDone}
		headers = append(headers, "Stream-Closed", "true")
	}
	body := ""
	if s.N > 0 && s.Type != "" {
		body = fmt.Sprintf("<%d>", r.index)
		o.Records = []streamhub.Record{{Payload: []byte(body)}}
	}
	from := place{}
	if s.Of != "" {
		at, err := url.Parse(address)
		if err != nil {
			return err
		}
		if from, _ = r.pickPlace(s, s.Of); from.text != "" {
			headers = append(headers, "Stream-Fork-Offset", from.text)
		}
		headers = append(headers, "Stream-Forked-From", strings.TrimSuffix(at.Path, s.Seg)+s.Of)
	} else if o.ContentType == "" {
		o.ContentType = "application/octet-stream"
	}
	got, err := r.do(http.MethodPut, address, body, headers...)
	if err != nil {
		return err
	}
	if r.doubtful(s, got) {
		// Whether it was created shows in its status.
		_, err := r.way.Store(0).Status(r.ctx, s.Space, s.Seg)
		if l := r.model.look(s.Space, s.Seg); err == nil && (l == nil || l.ended != nil) {
			if status, err := r.puts(s, o, from); err != nil || status != http.StatusCreated {
				return fmt.Errorf("it was created though the model answers %d: %w", status, err)
			}
		}
		return nil
	}
	status, err := r.puts(s, o, from)
	if s.Lose > 0 && status == http.StatusCreated && got.status == http.StatusOK {
		status = http.StatusOK // it was created by an attempt whose reply was lost
	}
	if err != nil || status >= 300 {
		return errors.Join(err, r.answers(got, status, nil))
	}
	l := r.model.find(s.Space, s.Seg)
	at := l.place(s, l.last())
	return errors.Join(r.answers(got, status, &at), ending(got, l.closed != nil), same("header Content-Type", got.header.Get("Content-Type"), l.contentType))
}

// puts is what a PUT does and the status that it is answered with.
func (r *run) puts(s Step, o *streamhub.CreateOptions, from place) (int, error) {
	m := r.model
	alike := func(l *life) bool {
		return l.ttl == o.TTL.Milliseconds() && (l.ttl > 0 || l.deadline == millis.Of(o.ExpiresAt)) &&
			normal(media(l)) == normal(o.ContentType) && (l.closed != nil) == (o.Closed != nil)
	}
	if s.Of == "" {
		_, created, err := m.Create(webProcess, s.Space, s.Seg, o)
		l := m.look(s.Space, s.Seg)
		switch {
		case err == nil && created:
			return http.StatusCreated, nil
		case err == nil, l != nil && l.ended == nil && l.origin == "" && alike(l):
			return http.StatusOK, nil
		}
		return statusOf(err), nil
	}
	source := m.look(s.Space, s.Of)
	there := func(err error, whole bool) (int, error) {
		l := m.look(s.Space, s.Seg)
		var deleted *streamhub.DeletedError
		switch {
		case l != nil && l.ended == nil && l.source != nil && l.source.of == s.Of && (from.text == "" || l.source.same(from)) && (whole && alike(l) || !whole && r.compatible(l, o)):
			return http.StatusOK, nil
		case l != nil && l.ended == nil:
			return http.StatusConflict, nil
		case errors.As(err, &deleted) && deleted.Held:
			return http.StatusConflict, nil
		}
		return statusOf(err), nil
	}
	if source == nil || source.ended != nil {
		return there(m.gone(source), false)
	}
	if o.ContentType != "" && normal(o.ContentType) != normal(media(source)) {
		return http.StatusConflict, nil
	}
	o.ContentType = media(source)
	switch {
	case o.TTL > 0:
	case source.ttl > 0:
		o.TTL = time.Duration(source.ttl) * time.Millisecond
	case source.deadline > 0:
		o.ExpiresAt = time.UnixMilli(source.deadline)
	}
	at := source.place(s, source.last())
	if from.text != "" {
		switch {
		case from.life != source.stream():
			return http.StatusBadRequest, nil
		case from.sequence < source.first-1:
			return http.StatusGone, nil
		case source.at(from.sequence) != from.at:
			return http.StatusBadRequest, nil
		}
		at = from
	}
	o.Origin, o.ForkOf, o.ForkAt, o.ForkIncarnation = origin, s.Of, &at.sequence, source.id
	_, created, err := m.Create(webProcess, s.Space, s.Seg, o)
	if err != nil || !created {
		return there(err, true)
	}
	m.find(s.Space, s.Seg).source = &forked{s.Of, source.stream(), at.sequence, at.at}
	return http.StatusCreated, nil
}

// compatible compares only what the request itself says.
func (r *run) compatible(l *life, o *streamhub.CreateOptions) bool {
	return (o.ContentType == "" || normal(media(l)) == normal(o.ContentType)) && (o.TTL == 0 || o.TTL.Milliseconds() == l.ttl) && (l.closed != nil) == (o.Closed != nil)
}

// media is the content type that a stream has over HTTP.
func media(l *life) string {
	if l.contentType == "" {
		return "application/octet-stream"
	}
	return l.contentType
}

// head asks what a stream is.
func (r *run) head(s Step, address string) error {
	got, err := r.do(http.MethodHead, address, "")
	if err != nil {
		return err
	}
	l := r.model.look(s.Space, s.Seg)
	if l == nil || l.ended != nil {
		return r.answers(got, statusOf(r.model.gone(l)), nil)
	}
	at := l.place(s, l.last())
	ttl := ""
	if l.ttl > 0 {
		ttl = fmt.Sprint(l.ttl / 1000)
	}
	return errors.Join(r.answers(got, http.StatusOK, &at), ending(got, l.closed != nil),
		same("header Content-Type", got.header.Get("Content-Type"), media(l)), same("header Stream-TTL", got.header.Get("Stream-TTL"), ttl))
}

// drop deletes a stream.
func (r *run) drop(s Step, address string) error {
	got, err := r.do(http.MethodDelete, address, "")
	if err != nil {
		return err
	}
	l := r.model.look(s.Space, s.Seg)
	gone := l == nil || l.ended != nil
	switch {
	case r.doubtful(s, got):
		if _, err := r.way.Store(0).Status(r.ctx, s.Space, s.Seg); !gone && errors.Is(err, streamhub.ErrNotFound) {
			_ = r.model.Delete(s.Space, s.Seg, "")
		}
		r.model.Sweep()
		return r.way.Sweep(r.ctx) // it may not have let go of its parent
	case gone:
		return r.answers(got, statusOf(r.model.gone(l)), nil)
	}
	return errors.Join(r.model.Delete(s.Space, s.Seg, ""), r.answers(got, http.StatusNoContent, nil))
}

// get reads what comes after a place, or once more what was read last: at once, by a long-poll, or as an event stream.
func (r *run) get(s Step, address string) error {
	from, ok := r.pickPlace(s, s.Seg)
	begin := "-1"
	switch {
	case s.Once:
		begin, from = r.tagged(s, from)
	case ok:
		begin = from.text
	case s.From > 0:
		begin = "now"
	}
	l := r.model.look(s.Space, s.Seg)
	status, want := http.StatusOK, []*entry(nil)
	kept := uint64(0) // the place at which reading can begin, of what was trimmed
	switch {
	case l == nil || l.ended != nil:
		status = statusOf(r.model.gone(l))
	case begin == "-1":
		want = l.entries[l.first-1:]
	case begin == "now":
	case from.life != l.stream(), from.sequence > l.last():
		status = http.StatusGone
	case from.sequence < l.first-1:
		status, kept = http.StatusGone, l.first-1
	case from.at != l.at(from.sequence):
		status = http.StatusGone
	default:
		want = l.entries[from.sequence:]
	}
	if status >= 300 {
		got, err := r.do(http.MethodGet, address+"?offset="+begin, "")
		if err != nil {
			return err
		}
		r.outcome = map[int]string{http.StatusNotFound: "not_found", http.StatusGone: "history_lost"}[status]
		if err := r.answers(got, status, nil); err != nil || kept == 0 {
			return err
		}
		return r.offset(got.header.Get("Stream-First-Offset"), l.place(s, kept))
	}
	if s.Slow && l.ttl == 0 { // an event stream renews a sliding deadline for as long as the gateway knows of its reader
		return r.events(s, l, address+"?live=sse&offset="+begin, want)
	}
	how := ""
	if s.Live {
		how = "live=long-poll&"
	}
	return errors.Join(r.pages(s, l, address+"?"+how+"offset=", begin, from, want), r.renewed(s, l))
}

// tagged is where the last read of a stream began that was answered with an ETag; else it begins at from.
func (r *run) tagged(s Step, from place) (string, place) {
	for _, p := range slices.Backward(r.web.tagged) {
		if p.space == s.Space && p.segment == s.Seg {
			return p.text, p
		}
	}
	if from.text == "" {
		return "-1", from
	}
	return from.text, from
}

// pages reads until there is no more.
func (r *run) pages(s Step, l *life, address, begin string, from place, want []*entry) error {
	text := payloads(want)
	for first := true; ; first = false {
		read := fmt.Sprint(s.Space, "/", s.Seg, begin)
		before := r.web.tags[read]
		got, err := r.do(http.MethodGet, address+begin, "", "If-None-Match", before.etag)
		if err != nil {
			return err
		}
		if got.status == http.StatusServiceUnavailable && r.slow() {
			return nil
		}
		if got.status == http.StatusNotModified {
			if before.life != l.id || !slices.Equal(before.entries, want) || before.closed != (l.closed != nil) {
				return fmt.Errorf("the ETag %s matches, and was given for %q, not %q", before.etag, payloads(before.entries), text)
			}
			return nil
		}
		status := http.StatusOK
		if s.Live && text == "" {
			status = http.StatusNoContent
		}
		if err := r.answers(got, status, nil); err != nil {
			return err
		}
		if got.header.Get("Stream-Up-To-Date") == "true" {
			at := l.place(s, l.last())
			if first && got.header.Get("ETag") != "" {
				r.web.tags[read] = tag{got.header.Get("ETag"), l.id, want, l.closed != nil}
				from.space, from.segment, from.text = s.Space, s.Seg, begin
				r.web.tagged = append(r.web.tagged, from)
			}
			return errors.Join(same("body", got.body, text), r.answers(got, status, &at), ending(got, l.closed != nil))
		}
		rest, ok := strings.CutPrefix(text, got.body)
		if !ok || got.body == "" || rest == "" {
			return fmt.Errorf("the body is %q, want a part of %q", got.body, text)
		}
		begin, text, want = got.header.Get("Stream-Next-Offset"), rest, entriesAfter(want, got.body)
		if err := r.offset(begin, l.place(s, l.last()-uint64(len(want)))); err != nil {
			return err
		}
	}
}

// entriesAfter are those after the ones that make up a text.
func entriesAfter(entries []*entry, text string) []*entry {
	for len(entries) > 0 && text != "" {
		text = strings.TrimPrefix(text, string(entries[0].record.Payload))
		entries = entries[1:]
	}
	return entries
}

func payloads(entries []*entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.Write(e.record.Payload)
	}
	return b.String()
}

// events reads an event stream until it says that there is no more.
func (r *run) events(s Step, l *life, address string, want []*entry) error {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	answer, err := r.request(ctx, http.MethodGet, address, "")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		if answer.StatusCode == http.StatusServiceUnavailable && r.slow() {
			return nil
		}
		return fmt.Errorf("the answer is %d", answer.StatusCode)
	}
	encoded := answer.Header.Get("Stream-SSE-Data-Encoding") == "base64"
	if err := same("encoding", encoded, !strings.HasPrefix(normal(media(l)), "text/")); err != nil {
		return err
	}
	event, text := "", ""
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		switch {
		case strings.HasPrefix(lines.Text(), "event:"):
			event = strings.TrimSpace(strings.TrimPrefix(lines.Text(), "event:"))
		case ok && event == "data" && encoded:
			b, err := base64.StdEncoding.DecodeString(data)
			if err != nil {
				return err
			}
			text += string(b)
		case ok && event == "data":
			text += strings.TrimPrefix(data, " ")
		case ok && event == "control":
			var control struct {
				StreamNextOffset       string
				UpToDate, StreamClosed bool
			}
			if err := json.Unmarshal([]byte(data), &control); err != nil {
				return err
			}
			if !control.UpToDate && !control.StreamClosed {
				continue
			}
			return errors.Join(same("data", text, payloads(want)), same("event streamClosed", control.StreamClosed, l.closed != nil),
				r.offset(control.StreamNextOffset, l.place(s, l.last())))
		}
	}
	return fmt.Errorf("the event stream ended after %q, want %q: %w", text, payloads(want), lines.Err())
}
