package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Features counts what met in programs: which feature was used, and which others had been used in the
// same program before. It is safe for concurrent use; nil counts nothing.
type Features struct {
	mu    sync.Mutex
	pairs map[[2]string]int
	seen  map[string]bool // in the program that runs
}

// NewFeatures counts nothing yet.
func NewFeatures() *Features { return &Features{pairs: map[[2]string]int{}, seen: map[string]bool{}} }

// Begin starts another program.
func (f *Features) Begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = map[string]bool{}
}

// names of the features of a step that ended in outcome.
func (s Step) features(outcome string) (list []string) {
	list = append(list, string(s.Op))
	for name, used := range map[string]bool{
		"producer": s.Producer != "" && !s.lease(), "generation": s.Gen > 0, "expected": s.Expect > 0, "incarnation": s.Life > 0,
		"check only": s.Check, "must exist": s.Must, "content type": s.Type != "", "stream seq": s.Order != "" && s.Op == Append,
		"close with": s.Close != "" && s.Op != Close, "deadline": s.TTL > 0 && !s.lease() && s.Op != Register, "kept for": s.TTL > 0 && s.Op == Register, "metadata": s.Meta, "cursor": s.Cursor > 0,
		"time bound": s.After+s.Until > 0, "limit": s.Limit > 0, "from": s.From+s.To > 0, "live": s.Live, "slow": s.Slow, "a space": s.Op == Follow && s.Seg == "",
		"once": s.Once && s.Op != Get, "etag": s.Once && s.Op == Get, "takeover": s.Takeover, "no process": s.Remote, "same key": s.Own && s.Op == Register,
		"reply lost": s.Lose > 0, "request lost": s.Drop > 0,
	} {
		if used {
			list = append(list, name)
		}
	}
	switch outcome {
	case "history_lost", "trimmed", "not_found", "repeated", "closed", "unknown_outcome":
		list = append(list, "→"+outcome)
	}
	for _, part := range s.Batch {
		list = append(list, part.features("")...)
	}
	return list
}

func (f *Features) note(s Step, outcome string) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range s.features(outcome) {
		f.seen[name] = true
		for before := range f.seen {
			f.pairs[[2]string{min(name, before), max(name, before)}]++
		}
	}
}

// Table is how often each pair of features met, the rarest first.
func (f *Features) Table() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]bool{}
	for pair := range f.pairs {
		all[pair[0]], all[pair[1]] = true, true
	}
	var list []string
	for name := range all {
		list = append(list, name)
	}
	slices.Sort(list)
	type cell struct {
		pair [2]string
		n    int
	}
	var cells []cell
	empty := 0
	for i, a := range list {
		for _, b := range list[i+1:] {
			n := f.pairs[[2]string{a, b}]
			if n == 0 {
				empty++
			}
			cells = append(cells, cell{[2]string{a, b}, n})
		}
	}
	slices.SortFunc(cells, func(a, b cell) int { return cmp.Or(a.n-b.n, cmp.Compare(a.pair[0]+a.pair[1], b.pair[0]+b.pair[1])) })
	var b strings.Builder
	fmt.Fprintf(&b, "%d features, %d pairs, %d of them never met\n", len(list), len(cells), empty)
	for _, c := range cells[:min(len(cells), 40)] {
		fmt.Fprintf(&b, "%8d  %s + %s\n", c.n, c.pair[0], c.pair[1])
	}
	return b.String()
}

// lease says that the step is about a lease.
func (s Step) lease() bool { return s.Op == Acquire || s.Op == Renew || s.Op == Release }
