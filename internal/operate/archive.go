package operate

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/port"
)

const (
	// keptReports bounds the remembered reports of verifications, in bytes. shownProblems is how many problems one
	// report names.
	keptReports   = 1 << 20
	shownProblems = 20
)

// An ArchivedRow is an archived space in a table of the console.
type ArchivedRow struct {
	Space    string `json:"space"`
	Entries  uint64 `json:"entries"`
	Windows  uint64 `json:"windows"`
	Chunks   uint64 `json:"chunks"`
	Bytes    uint64 `json:"bytes"`
	RawBytes uint64 `json:"raw_bytes"`
	// Until is the time of the last change that is archived, in Unix milliseconds.
	Until int64 `json:"until"`
	// Here says that this process archives the space; only then are the fields after it known. LagMS is how long the
	// oldest entry that is not archived has been due.
	Here     bool   `json:"here"`
	HotBytes int64  `json:"hot_bytes"`
	LagMS    int64  `json:"lag_ms"`
	Full     bool   `json:"full"`
	Failure  string `json:"failure,omitempty"`
	FailedAt int64  `json:"failed_at,omitempty"`
	// Verified is the result of the last verification by this process.
	Verified *Verified `json:"verified,omitempty"`
}

// A Verified is the result of a verification of an archived space.
type Verified struct {
	At      int64  `json:"at"` // Unix milliseconds
	TookMS  int64  `json:"took_ms"`
	Entries uint64 `json:"entries"`
	Chunks  uint64 `json:"chunks"`
	Bytes   uint64 `json:"bytes"`
	Damaged int    `json:"damaged"`
	Unused  int    `json:"unused"`
	// Problems names the first objects that are damaged.
	Problems []string `json:"problems,omitempty"`
}

// archived lists the archived spaces of a store. It costs Redis nothing.
func (v *View) archived(ctx context.Context, store uuid.UUID, after string) (p page[ArchivedRow], err error) {
	found, err := port.Of(v.hub.Store(store)).Archived(ctx, after, pageSize)
	p = page[ArchivedRow]{Items: []ArchivedRow{}}
	for i := range found {
		a := &found[i]
		row := ArchivedRow{
			Space: a.Space, Entries: a.Commit.Entries, Windows: a.Commit.Window, Chunks: a.Commit.Chunks, Bytes: a.Commit.Bytes,
			RawBytes: a.Commit.RawBytes, Until: int64(a.Commit.Position.MS), Here: a.Here, HotBytes: a.Hot, LagMS: a.Lag, Full: a.Full,
			Failure: a.Failure, FailedAt: a.FailedAt,
		}
		v.mu.Lock()
		row.Verified, _ = v.verified.Get(archive.SpaceID{Store: store, Space: a.Space})
		v.mu.Unlock()
		p.Items = append(p.Items, row)
	}
	if len(found) == pageSize {
		p.Next = found[len(found)-1].Space
	}
	return p, err
}

// errVerifying refuses a verification while another one runs.
var errVerifying = &streamhub.Error{Op: "verify", Err: streamhub.ErrLimitExceeded}

// verify reads all that is archived of a space, one space at a time. It costs Redis nothing.
func (v *View) verify(ctx context.Context, store uuid.UUID, space string) (*Verified, error) {
	if err := streamhub.CheckName("space", space); err != nil {
		return nil, err
	}
	select {
	case v.verifying <- struct{}{}:
		defer func() { <-v.verifying }()
	default:
		return nil, errVerifying
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(v.ctx, cancel)()
	begin := time.Now()
	report, err := port.Of(v.hub.Store(store)).VerifyArchive(ctx, space, nil)
	if err != nil {
		return nil, err
	}
	r := &Verified{
		At: time.Now().UnixMilli(), TookMS: time.Since(begin).Milliseconds(), Entries: report.Entries, Chunks: report.Chunks,
		Bytes: report.Bytes, Damaged: len(report.Problems), Unused: len(report.Orphans),
	}
	size := 256
	for _, problem := range report.Problems[:min(len(report.Problems), shownProblems)] {
		text := problem.Key + ": " + problem.Err.Error()
		r.Problems = append(r.Problems, text)
		size += len(text)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.verified.Put(archive.SpaceID{Store: store, Space: space}, r, size)
	return r, nil
}
