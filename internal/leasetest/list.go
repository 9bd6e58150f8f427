package leasetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

// listed returns what List gives, by key.
func (f *fixture) listed() map[string]lease.Listed {
	f.Helper()
	all := map[string]lease.Listed{}
	for l, err := range f.List(f.ctx, f.store) {
		if err != nil {
			f.Fatal(err)
		}
		if _, twice := all[l.Key]; twice {
			f.Errorf("%q is listed twice", l.Key)
		}
		all[l.Key] = l
	}
	return all
}

func list(f *fixture) {
	if all := f.listed(); len(all) != 0 {
		f.Errorf("of no leases %v are listed", all)
	}
	want := map[string]uint64{}
	for i := range 300 { // more than a page, many of them with one deadline
		k := fmt.Sprintf("jobs/%03d", i)
		token, err := f.AcquireAs(f.ctx, f.store, k, fmt.Sprint("worker ", i), long)
		if err != nil {
			f.Fatal(err)
		}
		want[k] = token
	}
	for _, k := range []string{"jobs/007", "jobs/299"} {
		if _, err := f.RenewAs(f.ctx, f.store, k, "worker "+map[string]string{"jobs/007": "7", "jobs/299": "299"}[k], long); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := f.ReleaseAs(f.ctx, f.store, "jobs/100", "worker 100"); err != nil && (!f.lossy || !errors.Is(err, streamhub.ErrUnknownOutcome)) {
		f.Fatal(err)
	}
	delete(want, "jobs/100")
	if _, err := f.AcquireAs(f.ctx, uuid.New(), "another", "b", long); err != nil { // of another store
		f.Fatal(err)
	}
	all := f.listed()
	for k, token := range want {
		l, ok := all[k]
		if !ok || l.Token != token || l.Left <= 0 || l.Left > long || l.Holder == "" {
			f.Errorf("%q is listed as %+v, want token %d", k, l, token)
		}
	}
	if len(all) != len(want) {
		f.Errorf("%d leases are listed, want %d", len(all), len(want))
	}

	// What has ended is not listed, and is forgotten after a while.
	f.acquire("a", soon)
	f.waitFree()
	f.pass(3 * soon)
	if _, there := f.listed()[key]; there {
		f.Error("a lease that has ended is listed")
	}
	if _, err := f.AcquireAs(f.ctx, f.store, "jobs/last", "a", long); err != nil {
		f.Fatal(err)
	}
	names, err := f.admin.ZRange(f.ctx, "sh:{"+f.store.String()+"}:l", 0, -1).Result()
	if err != nil || slices.Contains(names, key) {
		f.Errorf("the list still names it: %v", err)
	}
}

func since(f *fixture) {
	before := f.conn.Time(f.ctx).Val()
	f.acquire("a", long)
	after := f.conn.Time(f.ctx).Val()
	at := f.listed()[key].Since()
	if at.Before(before.Add(-time.Second)) || at.After(after.Add(time.Second)) {
		f.Errorf("acquired between %v and %v, listed as since %v", before, after, at)
	}
}

func purge(f *fixture) {
	token := f.acquire("a", long)
	if _, err := f.AcquireAs(f.ctx, f.store, "another", "a", long); err != nil {
		f.Fatal(err)
	}
	ended, err := f.Purge(f.ctx, f.store)
	if err != nil || ended != 2 {
		f.Errorf("%d leases were ended: %v", ended, err)
	}
	if all := f.listed(); len(all) != 0 {
		f.Errorf("%v are left", all)
	}
	_, err = f.RenewAs(f.ctx, f.store, key, "a", long)
	f.wants(err, streamhub.ErrLeaseLost)
	if next := f.acquire("b", long); next <= token {
		f.Errorf("token %d follows %d", next, token)
	}
	if ended, err = f.Purge(f.ctx, uuid.New()); err != nil || ended != 0 {
		f.Errorf("of an empty store %d leases were ended: %v", ended, err)
	}
}
