// Package storetest is the contract of package store in executable form. Each kind of Redis that a
// log is to live in calls [Run] in a test of its own.
package hotlogtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// An Env is a Redis of its own for one case, or for cases that run one after the other. Some
// remove everything that it holds.
type Env struct {
	// Connect makes another client with these hooks, which ends with the test.
	Connect func(t *testing.T, hooks ...redis.Hook) *redisx.Conn
	// Admin, unless nil, makes the client with which the case itself looks at the server and breaks what is there,
	// where the user of Connect may not.
	Admin func(t *testing.T) *redisx.Conn
	// Advance returns when so much time has passed for the server.
	Advance func(t *testing.T, d time.Duration)
	// Reign gives the server another lineage, as a promotion or a restart does. Clients that were
	// connected before may stay with the old one.
	Reign func(t *testing.T)
}

// Run runs the contract, each case as a subtest with what open returns.
func Run(t *testing.T, open func(t *testing.T) *Env) {
	for _, group := range [][]namedCase{
		appendCases, nameCases, limitCases, sequenceCases, generationCases, repeatCases, producerCases,
		closeCases, createCases, conditionCases, expiryCases, removeCases, forkCases, trimCases,
		readCases, spaceCases, listCases, togetherCases, liveCases, noticeCases, lostCases, refusalCases,
		lineageCases, lifeCases, contextCases, sweepCases, importCases, quotaCases,
	} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				t.Cleanup(cancel)
				f := &fixture{T: t, ctx: ctx, env: open(t), id: uuid.New()}
				f.connect()
				f.Store = f.open(f.conn)
				c.test(f)
			})
		}
	}
}

type namedCase struct {
	name string
	test func(*fixture)
}

const space = "space"

// A fixture is one case with a store of its own.
type fixture struct {
	*testing.T
	*hotlog.Store
	ctx  context.Context // ends when the case takes too long
	env  *Env
	conn *redisx.Conn // of the case itself
	// product is what logs are opened on that are opened on conn.
	product *redisx.Conn
	id      uuid.UUID
}

// connect makes the clients of the fixture.
func (f *fixture) connect() {
	f.product = f.env.Connect(f.T)
	f.conn = f.product
	if f.env.Admin != nil {
		f.conn = f.env.Admin(f.T)
	}
}

// open starts a log on conn, as another process would, and returns the store of the case in it.
func (f *fixture) open(conn *redisx.Conn) *hotlog.Store {
	f.Helper()
	return f.openWith(conn, nil)
}

func (f *fixture) openWith(conn *redisx.Conn, options *hotlog.Options) *hotlog.Store {
	f.Helper()
	if conn == f.conn {
		conn = f.product
	}
	log, err := hotlog.Open(f.ctx, conn, options)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, log.Close()) })
	return log.Store(f.id)
}

// another is the store as another process sees it.
func (f *fixture) another() *hotlog.Store {
	f.Helper()
	return f.open(f.conn)
}

// records makes a record of each payload.
func records(payloads ...string) []streamhub.Record {
	r := make([]streamhub.Record, len(payloads))
	for i, p := range payloads {
		r[i].Payload = []byte(p)
	}
	return r
}

// append adds payloads to a segment of the usual space.
func (f *fixture) append(segment string, payloads ...string) streamhub.AppendResult {
	f.Helper()
	return f.appendTo(f.Store, segment, payloads...)
}

func (f *fixture) appendTo(s *hotlog.Store, segment string, payloads ...string) streamhub.AppendResult {
	f.Helper()
	r, err := s.Append(f.ctx, space, segment, records(payloads...), nil)
	require.NoError(f, err)
	return r
}

// with appends one record under options.
func (f *fixture) with(o streamhub.AppendOptions, segment string, payloads ...string) (streamhub.AppendResult, error) {
	f.Helper()
	return f.Append(f.ctx, space, segment, records(payloads...), &o)
}

// read returns all entries of a segment that options name.
func (f *fixture) read(segment string, options *streamhub.ReadOptions) []streamhub.Entry {
	f.Helper()
	entries, err := f.tryRead(segment, options)
	require.NoError(f, err)
	return entries
}

func (f *fixture) tryRead(segment string, options *streamhub.ReadOptions) ([]streamhub.Entry, error) {
	var entries []streamhub.Entry
	for e, err := range f.ConsumeSegment(f.ctx, space, segment, options) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// readSpace returns all entries of the usual space that options name.
func (f *fixture) readSpace(options *streamhub.ReadOptions) []streamhub.Entry {
	f.Helper()
	entries, err := f.tryReadSpace(options)
	require.NoError(f, err)
	return entries
}

func (f *fixture) tryReadSpace(options *streamhub.ReadOptions) ([]streamhub.Entry, error) {
	var entries []streamhub.Entry
	for e, err := range f.ConsumeSpace(f.ctx, space, options) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// payloads are those of entries, whose sequences must be contiguous.
func (f *fixture) payloads(entries []streamhub.Entry) []string {
	f.Helper()
	var texts []string
	for i, e := range entries {
		if i > 0 {
			require.Equal(f, entries[i-1].Sequence+1, e.Sequence)
		}
		texts = append(texts, string(e.Payload))
	}
	return texts
}

// names are "<segment><sequence>" of entries.
func names(entries []streamhub.Entry) []string {
	var texts []string
	for _, e := range entries {
		texts = append(texts, e.Segment+itoa(e.Sequence))
	}
	return texts
}

// holds requires that a segment holds these payloads from its first sequence on.
func (f *fixture) holds(segment string, payloads ...string) {
	f.Helper()
	require.Equal(f, payloads, f.payloads(f.read(segment, nil)))
}

// status returns that of a segment that must be there.
func (f *fixture) status(segment string) streamhub.Status {
	f.Helper()
	s, err := f.Status(f.ctx, space, segment)
	require.NoError(f, err)
	return s
}

func (f *fixture) trim(segment string, upTo uint64) uint64 {
	f.Helper()
	first, err := f.Trim(f.ctx, space, segment, upTo)
	require.NoError(f, err)
	return first
}

func (f *fixture) delete(segment string) {
	f.Helper()
	require.NoError(f, f.Delete(f.ctx, space, segment, "no longer needed"))
}

func (f *fixture) closed(segment string) {
	f.Helper()
	_, err := f.CloseSegment(f.ctx, space, segment, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	require.NoError(f, err)
}

func (f *fixture) create(segment string, o *streamhub.CreateOptions) streamhub.Status {
	f.Helper()
	s, created, err := f.Create(f.ctx, space, segment, o)
	require.NoError(f, err)
	require.True(f, created)
	return s
}

// lost requires that err tells of history lost from a sequence on.
func (f *fixture) lost(err error, first uint64) {
	f.Helper()
	var lost *streamhub.HistoryLostError
	require.ErrorAs(f, err, &lost)
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	require.Equal(f, first, lost.FirstLost)
}

// trimmed requires that err tells which sequence is the first kept.
func (f *fixture) trimmed(err error, firstKept uint64) {
	f.Helper()
	var trimmed *streamhub.TrimmedError
	require.ErrorAs(f, err, &trimmed)
	require.ErrorIs(f, err, streamhub.ErrTrimmed)
	require.Equal(f, firstKept, trimmed.FirstKept)
	require.NotEmpty(f, trimmed.Cursor)
	if firstKept != 0 {
		at, err := trimmed.Cursor.Position()
		require.NoError(f, err)
		require.Equal(f, firstKept-1, at.Sequence)
	}
}

// goesOn requires that err tells that a space was trimmed, and that its cursor gives what is left, in every
// way to read and from every entry of that on.
func (f *fixture) goesOn(err error, want []string) {
	f.Helper()
	f.trimmed(err, 0)
	var trimmed *streamhub.TrimmedError
	require.ErrorAs(f, err, &trimmed)
	require.Equal(f, space, trimmed.Space)
	left := f.readSpace(&streamhub.ReadOptions{Cursor: trimmed.Cursor})
	require.Equal(f, want, names(left))
	at, err := trimmed.Cursor.Position()
	require.NoError(f, err)
	paged, _ := f.walk(at)
	require.Equal(f, want, names(paged))
	for i, e := range left {
		require.Equal(f, append([]string(nil), want[i+1:]...), names(f.readSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})))
	}
	var merged []streamhub.Entry
	for e, err := range f.Consume(f.ctx, map[string]streamhub.Cursor{trimmed.Space: trimmed.Cursor, "other": ""}, nil) {
		require.NoError(f, err)
		merged = append(merged, e)
	}
	require.Equal(f, want, names(merged))
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
