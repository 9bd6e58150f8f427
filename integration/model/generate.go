package model

import (
	"slices"

	"pgregory.net/rapid"
)

// Programs generates programs of at least so many steps. Few names and small numbers make features
// meet; what a step says of cursors and sequences is relative to what it finds.
func Programs(steps int) *rapid.Generator[[]Step] {
	usual := rapid.SliceOfN(rapid.Custom(drawStep), steps, 2*steps)
	more := rapid.SliceOfN(rapid.Custom(drawLive), steps/2, steps)
	return rapid.Custom(func(t *rapid.T) []Step {
		program := usual.Draw(t, "program")
		if !(source{t}).rarely(3) {
			return program
		}
		// Live streams come in between, in the order in which they are drawn.
		return mixed(t, program, more.Draw(t, "live"), 3)
	})
}

// archivePrograms generates programs without live streams in which entries leave Redis. Replies are lost later in a step, too.
func archivePrograms(steps int) *rapid.Generator[[]Step] {
	usual := rapid.SliceOfN(rapid.Custom(drawStep), steps, 2*steps)
	more := rapid.SliceOfN(rapid.Custom(drawArchive), steps/4, steps/2)
	return rapid.Custom(func(t *rapid.T) []Step {
		program := usual.Draw(t, "program")
		for i := range program {
			if s := &program[i]; s.Lose+s.Drop > 0 {
				s.Pass = source{t}.int(2)
			}
		}
		return mixed(t, program, more.Draw(t, "archive"), 6)
	})
}

// webPrograms generates programs in which streams are used over HTTP, too.
func webPrograms(steps int) *rapid.Generator[[]Step] {
	usual := archivePrograms(steps / 2)
	more := rapid.SliceOfN(rapid.Custom(drawWeb), steps/2, steps)
	return rapid.Custom(func(t *rapid.T) []Step { return mixed(t, usual.Draw(t, "program"), more.Draw(t, "web"), 3) })
}

// weightedWeb is how often each operation over HTTP is drawn.
var weightedWeb = weigh([]weight{{Put, 6}, {Post, 14}, {Get, 14}, {Head, 2}, {Drop, 2}})

func drawWeb(t *rapid.T) Step {
	s := source{t}
	step := Step{Op: rapid.SampledFrom(weightedWeb).Draw(t, "op"), By: s.int(1), Space: "s", Seg: s.segment()}
	if s.rarely(6) {
		step.Space = "t"
	}
	switch step.Op {
	case Put:
		step.N, step.Type, step.Close = s.int(1), s.of("text/plain", "text/plain", "text/html", ""), s.sometimes(8, "done")
		if s.rarely(4) {
			step.TTL = s.one(5000, 2000)
		}
		if s.rarely(3) {
			step.Of, step.Cursor, step.Any = s.segment(), s.back(2), s.rarely(8)
			if !s.rarely(5) {
				step.Type = ""
			}
		}
	case Post:
		step.N, step.Type = 1, s.of("text/plain", "text/plain", "Text/Plain; a=b", "text/html")
		if step.Close = s.sometimes(10, "done"); step.Close != "" {
			step.N = s.int(1)
		}
		if s.rarely(3) {
			step.Producer = s.of("p", "q")
			step.Turn, step.Epoch = s.one(0, 0, 0, 1, 1, 2, 3, 4, 4), s.one(0, 0, 0, 0, 1, -1)
		}
		step.Order = s.sometimes(8, "a", "b", "c", "d")
		step.Cursor, step.Any = s.back(4), s.rarely(12)
	case Get:
		step.Cursor, step.Any = s.one(0, 1, 1, 2, 3, 5, 8), s.rarely(10)
		step.From = s.one(0, 0, 0, 1)
		step.Live, step.Slow, step.Once = s.rarely(4), s.rarely(4), s.rarely(3)
	}
	if step.Op != Get && step.Op != Head && s.rarely(12) {
		step.Pass, step.Lose = s.int(1), s.one(1, 1, 2, many)
		if step.Lose == many && s.rarely(2) {
			step.Lose, step.Drop = 0, many
		}
	}
	return step
}

// mixed puts steps between those of a program, each at most gap after the one before it.
func mixed(t *rapid.T, program, more []Step, gap int) []Step {
	at := 0
	for _, step := range more {
		at = min(len(program), at+source{t}.int(gap))
		program = slices.Insert(program, at, step)
		at++
	}
	return program
}

// weightedArchive is how often each operation on an archive is drawn.
var weightedArchive = weigh([]weight{{Archive, 12}, {Restore, 1}})

func drawArchive(t *rapid.T) Step {
	s := source{t}
	step := Step{Op: rapid.SampledFrom(weightedArchive).Draw(t, "op"), By: s.int(1)}
	if step.Op == Archive {
		step.Limit = s.one(0, 0, 1, 2, 100)
	}
	if s.rarely(4) {
		step.Pass, step.Lose = s.int(9), s.one(1, 2, 2, 3)
		if s.rarely(3) {
			step.Lose, step.Drop = 0, step.Lose
		}
	}
	return step
}

// weightedLive is how often each operation on live streams is drawn.
var weightedLive = weigh([]weight{
	{Register, 8}, {Publish, 14}, {Describe, 2}, {End, 4}, {Beat, 2}, {HandOver, 1}, {Messages, 3}, {Send, 4}, {Cancel, 2},
	{Remove, 1}, {LiveStatus, 4}, {View, 8}, {Silence, 1},
})

func drawLive(t *rapid.T) Step {
	s := source{t}
	step := Step{Op: rapid.SampledFrom(weightedLive).Draw(t, "op"), By: s.int(1), Seg: s.of("x", "x", "y"), At: s.int(slots - 1)}
	switch step.Op {
	case Register:
		step.Remote, step.Meta, step.Own = s.rarely(3), s.rarely(3), s.rarely(8)
		if step.Takeover = s.rarely(3); !step.Takeover {
			step.Once = s.rarely(4)
		}
		if s.rarely(4) {
			step.TTL = s.one(1000, 86_400_000)
		}
	case Publish:
		step.N, step.Turn = 1+s.int(2), s.one(0, 0, 0, 1, 3)
	case End:
		step.Close = s.of("done", "failed", "")
	case Messages:
		step.From = s.int(2)
	case Send:
		step.Once, step.Own = s.rarely(3), s.rarely(2)
	case View:
		step.Cursor, step.Any = s.back(2), s.rarely(4)
	}
	if s.rarely(10) {
		step.Lose = s.one(1, 1, 2)
	}
	return step
}

type weight struct {
	op Op
	n  int
}

func weigh(weights []weight) (ops []Op) {
	for _, w := range weights {
		ops = append(ops, slices.Repeat([]Op{w.op}, w.n)...)
	}
	return ops
}

// weighted is how often each operation is drawn.
var weighted = weigh([]weight{
	{Append, 16}, {AppendAll, 5}, {Repeat, 2}, {Create, 3}, {Fork, 4}, {Close, 2}, {Delete, 3}, {Trim, 4}, {Touch, 3}, {Read, 7},
	{ReadSpace, 7}, {Status, 3}, {Peek, 2}, {List, 2}, {Sweep, 3}, {Wait, 5}, {Save, 2}, {Rewind, 2}, {Promote, 1},
	{Follow, 6}, {Drain, 3}, {Resume, 2}, {Cut, 1}, {Deaf, 1},
	{Acquire, 3}, {Renew, 1}, {Release, 1},
})

// A source draws small numbers; 0 is the usual case and the one that a failing program shrinks to.
type source struct{ *rapid.T }

func (s source) int(upTo int) int { return rapid.IntRange(0, upTo).Draw(s.T, "") }

// rarely is one time in n.
func (s source) rarely(n int) bool { return s.int(n-1) == n-1 }

func (s source) of(names ...string) string { return rapid.SampledFrom(names).Draw(s.T, "") }

// sometimes draws from names one time in n, and "" else.
func (s source) sometimes(n int, names ...string) string {
	if s.rarely(n) {
		return s.of(names...)
	}
	return ""
}

// back is one time in n a number of places to count back.
func (s source) back(n int) int {
	if s.rarely(n) {
		return 1 + s.int(11)
	}
	return 0
}

// many is more than is retried.
const many = 1000

func (s source) one(numbers ...int) int { return numbers[s.int(len(numbers)-1)] }

func (s source) segment() string { return s.of("a", "b", "c", "d") }

func drawStep(t *rapid.T) Step {
	s := source{t}
	step := Step{Op: rapid.SampledFrom(weighted).Draw(t, "op"), By: s.int(1), Space: "s"}
	if s.rarely(6) {
		step.Space = "t"
	}
	switch step.Op {
	case Append:
		s.append(&step)
	case AppendAll:
		for range 2 + s.int(4) {
			var part Step
			s.append(&part)
			part.By, part.Space, part.Own = 0, "", false
			step.Batch = append(step.Batch, part)
		}
		if s.rarely(10) {
			step.Lose = 1 + s.int(1)
		}
		return step
	case Repeat:
		step.At, step.Meta = s.int(5), s.rarely(6)
		return step
	case Create, Fork:
		s.create(&step)
	case Close:
		step.Seg, step.Close, step.Gen = s.segment(), s.of("done", "failed", "lost"), s.generation()
		if s.rarely(10) {
			step.Close = "banana"
		}
	case Trim:
		step.Seg, step.UpTo = s.segment(), s.int(12)
	case Delete, Touch, Status, Peek:
		step.Seg = s.segment()
	case Read:
		step.Seg = s.segment()
		s.bounds(&step)
		if step.Cursor == 0 && s.rarely(3) {
			step.From = 1 + s.int(8)
		}
		if s.rarely(5) {
			step.To = 1 + s.int(8)
		}
	case ReadSpace:
		s.bounds(&step)
	case Follow:
		step.At, step.Slow = s.int(slots-1), s.rarely(3)
		if !s.rarely(3) {
			step.Seg = s.segment()
		}
		step.Cursor = s.back(3)
		step.Live = s.rarely(5)
		if s.rarely(6) {
			step.From = 1 + s.int(5)
		}
		if s.rarely(8) {
			step.Limit = 1 + s.int(4)
		}
	case Acquire, Renew, Release:
		step.Seg, step.Producer, step.TTL = s.of("k", "l"), s.of("p", "q"), s.one(1000, 1500, 60_000)
	case Drain, Resume:
		step.At, step.Slow = s.int(slots-1), s.rarely(3)
	case Wait:
		step.For = []int{7, 1000, 1, 40, 90_000_000}[s.int(4)]
	}
	switch step.Op {
	case Append, Close, Delete, Trim, Create, Fork, Acquire, Renew, Release:
		if !step.Check && s.rarely(14) {
			step.Lose = s.one(1, 1, 2, many)
			if step.Lose == many && s.rarely(2) {
				step.Lose, step.Drop = 0, many
			}
		}
	}
	return step
}

func (s source) generation() int {
	if s.rarely(5) {
		return 1 + s.int(2)
	}
	return 0
}

func (s source) append(step *Step) {
	step.Seg, step.N, step.Meta = s.segment(), 1+s.int(2), s.rarely(4)
	step.Gen = s.generation()
	if s.rarely(5) {
		step.Expect = []int{1, 1, 2, 3}[s.int(3)]
	}
	if s.rarely(4) {
		step.Producer = s.of("p", "q")
		step.Turn = []int{0, 0, 0, 1, 1, 2, 3, 4, 4, 4}[s.int(9)]
		step.Epoch = []int{0, 0, 0, 0, 1, -1}[s.int(5)]
	}
	step.Own = s.rarely(5)
	if s.rarely(12) {
		step.Close = s.of("done", "failed")
		step.N = s.int(2)
	}
	step.Type = s.sometimes(8, "text/plain", "Text/Plain; a=b", "text/html")
	step.Order = s.sometimes(8, "a", "b", "c", "d")
	step.Must, step.Check = s.rarely(10), s.rarely(10)
	step.Life = s.back(6)
}

func (s source) create(step *Step) {
	step.Seg, step.N = s.segment(), s.int(2)
	step.Gen = s.generation()
	step.Type = s.sometimes(5, "text/plain", "text/html")
	step.Order = s.sometimes(5, "here", "there")
	step.Close = s.sometimes(8, "done")
	if s.rarely(3) {
		step.TTL, step.Fixed = []int{5000, 50, 2000, 5}[s.int(3)], s.rarely(3)
	}
	if step.Op == Fork {
		step.Of, step.At, step.Life = s.segment(), s.int(4), s.back(6)
	}
}

func (s source) bounds(step *Step) {
	step.Cursor = s.back(2)
	step.Any = s.rarely(12)
	if s.rarely(5) {
		step.After = s.back(1)
	}
	if s.rarely(5) {
		step.Until = s.back(1)
	}
	if s.rarely(4) {
		step.Limit = 1 + s.int(4)
	}
}
