package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A world is a history made by hand: the calls of its clients one after the other, unless a test
// moves them, and the log that they leave.
type world struct {
	ops      []Op
	log      Log
	sessions []Session
	losses   map[string][]Loss
	now      int64
	number   uint64
}

func newWorld() *world {
	return &world{log: Log{Space: "s", Segment: "a"}}
}

func id(n int) uuid.UUID { return uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)) }

func digests(trx, n int) []uint64 {
	d := make([]uint64, n)
	for i := range d {
		d[i] = Digest(fmt.Append(nil, trx, "/", i), nil)
	}
	return d
}

// op adds a call of 10 ns.
func (w *world) op(o Op) *Op {
	o.Space, o.Segment = "s", "a"
	if o.Client == "" {
		o.Client = "c1"
	}
	if o.Outcome == "" {
		o.Outcome = OK
	}
	w.now += 20
	o.Call, o.Return = w.now, w.now+10
	w.ops = append(w.ops, o)
	return &w.ops[len(w.ops)-1]
}

// store puts n records into the log.
func (w *world) store(trx, n int) (first, last uint64) {
	w.number++
	first = w.log.Status.LastSequence + 1
	for _, d := range digests(trx, n) {
		w.log.Status.LastSequence++
		w.log.Entries = append(w.log.Entries, Seen{
			Sequence: w.log.Status.LastSequence, TRX: id(trx), Number: w.number, Digest: d, Timestamp: 1000 + w.now,
		})
	}
	return first, w.log.Status.LastSequence
}

// append is one that is stored and acknowledged.
func (w *world) append(trx, n int) *Op {
	first, last := w.store(trx, n)
	return w.op(Op{Kind: Append, TRX: id(trx), Records: digests(trx, n), First: first, Last: last, InForce: w.log.Status.Generation})
}

// refused is one that is not.
func (w *world) refused(trx int, code streamhub.Code, o Op) *Op {
	o.Kind, o.TRX, o.Records, o.Outcome, o.Code = Append, id(trx), digests(trx, 1), Refused, code
	return w.op(o)
}

func (w *world) tail(last uint64) *Op {
	return w.op(Op{Kind: Tail, Client: "c2", Last: last, InForce: w.log.Status.Generation})
}

func (w *world) read() *Op {
	var c Chain
	for _, e := range w.log.Entries {
		c = c.Link(e.Sequence, e.TRX, e.Digest)
	}
	return w.op(Op{Kind: Read, Client: "c3", Last: w.log.Status.LastSequence, Chain: c})
}

// end closes the segment after the last entry of the log.
func (w *world) end(trx int) *Op {
	w.log.Status.Verdict = &streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: id(trx).String()}
	w.log.Status.State = streamhub.StateClosed
	last := w.log.Status.LastSequence
	return w.op(Op{Kind: Append, TRX: id(trx), Close: true, First: last + 1, Last: last, Closed: true})
}

func (w *world) follow(from uint64) *Session {
	x := Session{Follower: "f", Space: "s", Segment: "a", From: from}
	for _, e := range w.log.Entries {
		if e.Sequence >= from {
			x.Seen = append(x.Seen, e)
		}
	}
	w.sessions = append(w.sessions, x)
	return &w.sessions[len(w.sessions)-1]
}

func (w *world) check() *Report {
	return Check(w.ops, []Log{w.log}, &Options{Seed: 7, Losses: w.losses, Sessions: w.sessions, Timeout: 10 * time.Second})
}

// TestGood shows that nothing is found where nothing is wrong.
func TestGood(t *testing.T) {
	for name, make := range map[string]func(w *world){
		"empty": func(*world) {},
		"appends and reads": func(w *world) {
			w.append(1, 1)
			w.tail(1)
			w.append(2, 3)
			w.read()
			w.append(3, 2).Expect = 5
			w.tail(6)
			w.follow(1)
			w.follow(4)
		},
		"unknown and stored": func(w *world) {
			w.append(1, 1)
			w.append(2, 2).Outcome = Unknown
			w.append(3, 1)
			w.tail(4)
		},
		"unknown and stored much later": func(w *world) {
			w.op(Op{Kind: Append, TRX: id(2), Records: digests(2, 1), Outcome: Unknown})
			w.append(1, 1)
			w.tail(1)
			w.store(2, 1)
			w.tail(2)
		},
		"unknown and never stored": func(w *world) {
			w.append(1, 1)
			w.op(Op{Kind: Append, TRX: id(2), Records: digests(2, 1), Outcome: Unknown})
			w.tail(1)
		},
		"unknown and sent again": func(w *world) {
			first, last := w.store(1, 2)
			w.op(Op{Kind: Append, TRX: id(1), Records: digests(1, 2), Outcome: Unknown})
			w.op(Op{Kind: Append, TRX: id(1), Records: digests(1, 2), First: first, Last: last, Repeated: true})
			w.append(2, 1)
		},
		"refusals": func(w *world) {
			w.log.Status.Generation = 5
			w.append(1, 1).Generation = 5
			w.refused(2, "sequence_mismatch", Op{Expect: 9, First: 2, Generation: 5})
			w.refused(3, "fenced", Op{Generation: 4, InForce: 5})
			w.append(4, 1).Generation = 5
		},
		"unavailable": func(w *world) {
			w.op(Op{Kind: Append, TRX: id(2), Records: digests(2, 1), Outcome: None, Code: "unavailable"})
			w.append(1, 1)
		},
		"closed": func(w *world) {
			w.append(1, 2)
			w.end(2)
			w.refused(3, "closed", Op{Last: 2, Closed: true})
			x := w.follow(1)
			x.Code, x.Verdict, x.Last = "closed", w.log.Status.Verdict, 2
		},
		"producer": func(w *world) {
			w.append(1, 1).Producer = &streamhub.Producer{ID: "p", Seq: 0}
			w.refused(2, "producer_gap", Op{Producer: &streamhub.Producer{ID: "p", Seq: 2}, Seq: 1})
			w.append(3, 1).Producer = &streamhub.Producer{ID: "p", Seq: 1}
			w.refused(4, "batch_mismatch", Op{Producer: &streamhub.Producer{ID: "p", Seq: 1}, Seq: 2})
			w.append(5, 1).Producer = &streamhub.Producer{ID: "p", Epoch: 3, Seq: 0}
			w.refused(6, "producer_fenced", Op{Producer: &streamhub.Producer{ID: "p", Epoch: 2, Seq: 0}, Epoch: 3, Seq: 1})
		},
		"one append of a producer by two clients": func(w *world) {
			p := &streamhub.Producer{ID: "p"}
			w.append(1, 1).Producer = p
			w.op(Op{Client: "c9", Kind: Append, TRX: id(1), Records: digests(1, 1), Producer: p, First: 1, Last: 1, Repeated: true})
		},
		"concurrent": func(w *world) {
			a, b, c := *w.append(1, 1), *w.append(2, 1), *w.append(3, 1)
			a.Call, b.Call, c.Call = 0, 0, 0
			a.Return, b.Return, c.Return = 100, 100, 100
			w.ops = []Op{c, a, b}
		},
		"a named loss": func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.append(3, 1)
			w.tail(3)
			old := w.follow(1)
			old.Seen = slices.Clone(old.Seen)
			old.Code, old.FirstLost = "history_lost", 2
			w.losses = map[string][]Loss{"s/a": {{Keep: 1, From: w.ops[0].Return, To: w.now + 20}}}
			w.now += 20
			w.log.Entries, w.log.Status.LastSequence, w.number = w.log.Entries[:1:1], 1, 1
			w.tail(1)
			w.append(4, 2)
			w.follow(1)
		},
		"a loss of what was not confirmed": func(w *world) {
			w.append(1, 1)
			w.append(2, 1).Outcome = Weak
			w.losses = map[string][]Loss{"s/a": {{Keep: 1, Unconfirmed: true}}}
			w.log.Entries, w.log.Status.LastSequence, w.number = w.log.Entries[:1:1], 1, 1
			w.append(3, 1)
		},
		"lost and sent again": func(w *world) {
			p := &streamhub.Producer{ID: "p"}
			w.append(1, 1)
			w.append(2, 1)
			w.append(3, 1).Producer = p
			w.losses = map[string][]Loss{"s/a": {{Keep: 1}}}
			w.log.Entries, w.log.Status.LastSequence, w.number = w.log.Entries[:1:1], 1, 1
			w.op(Op{Kind: Append, TRX: id(3), Records: digests(3, 1), Producer: p, Outcome: Unknown})
			w.append(3, 1).Producer = p
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			make(w)
			if err := w.check().Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestBad shows that every kind of violation is found, under its name.
func TestBad(t *testing.T) {
	for name, bad := range map[string]struct {
		kind string
		make func(w *world)
	}{
		"hole": {"gap", func(w *world) {
			w.append(1, 1)
			w.log.Status.LastSequence++
			w.append(2, 1)
		}},
		"lost": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.log.Entries, w.log.Status.LastSequence = w.log.Entries[:1], 1
		}},
		"all lost": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.log = Log{Space: "s", Segment: "a"}
		}},
		"a place taken by another": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.ops[0].TRX = id(2)
			w.op(Op{Kind: Append, TRX: id(1), Records: digests(1, 1), Outcome: Unknown})
		}},
		"other content": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.log.Entries[0].Digest++
		}},
		"stored twice": {"stored twice", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.store(1, 1)
		}},
		"producer stored twice": {"stored twice", func(w *world) {
			p := &streamhub.Producer{ID: "p"}
			w.append(1, 1).Producer = p
			first, last := w.store(2, 1)
			w.log.Entries[1].Digest = digests(1, 1)[0]
			w.op(Op{Kind: Append, TRX: id(2), Records: digests(1, 1), Producer: p, First: first, Last: last})
		}},
		"torn": {"torn", func(w *world) {
			w.op(Op{Kind: Append, TRX: id(1), Records: digests(1, 3), Outcome: Unknown})
			w.store(1, 2)
		}},
		"not adjacent": {"stored twice", func(w *world) {
			w.append(1, 2)
			w.append(2, 1)
			w.log.Entries[1], w.log.Entries[2] = w.log.Entries[2], w.log.Entries[1]
			w.log.Entries[1].Sequence, w.log.Entries[2].Sequence = 2, 3
		}},
		"stray": {"stray", func(w *world) {
			w.append(1, 1)
			w.store(9, 1)
		}},
		"refused, yet there": {"refused, yet there", func(w *world) {
			w.append(1, 1)
			w.refused(2, "sequence_mismatch", Op{Expect: 7, First: 2})
			w.store(2, 1)
		}},
		"unavailable, yet there": {"refused, yet there", func(w *world) {
			w.op(Op{Kind: Append, TRX: id(1), Records: digests(1, 1), Outcome: None, Code: "unavailable"})
			w.store(1, 1)
		}},
		"two answers": {"answers differ", func(w *world) {
			w.append(1, 1)
			w.op(Op{Kind: Append, TRX: id(1), Records: digests(1, 1), First: 2, Last: 2, Repeated: true})
		}},
		"answer too short": {"answer", func(w *world) { w.append(1, 3).Last = 2 }},
		"not where expected": {"answer", func(w *world) {
			w.append(1, 1)
			w.append(2, 1).Expect = 1
		}},
		"strange error": {"unexpected error", func(w *world) { w.refused(1, "internal", Op{}) }},
		"history lost for nothing": {"unexpected error", func(w *world) {
			w.append(1, 1)
			w.refused(2, "history_lost", Op{})
		}},
		"gap without producer": {"unexpected error", func(w *world) { w.refused(1, "producer_gap", Op{}) }},
		"append numbers": {"number", func(w *world) {
			w.append(1, 1)
			w.number++
			w.append(2, 1)
		}},
		"time goes back": {"time", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.log.Entries[1].Timestamp = 1
		}},
		"status disagrees": {"tail", func(w *world) {
			w.append(1, 1)
			w.log.Status.LastSequence = 2
		}},
		"close forgotten": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.end(2)
			w.log.Status.Verdict = nil
		}},
		"no log": {"no log", func(w *world) {
			w.append(1, 1)
			w.log.Segment = "b"
		}},

		"stale status": {"order", func(w *world) {
			w.append(1, 1)
			w.tail(0)
		}},
		"status of the future": {"order", func(w *world) {
			w.append(1, 1)
			w.tail(2)
			w.append(2, 1)
		}},
		"stale read": {"order", func(w *world) {
			w.append(1, 1)
			stale := *w.read()
			w.append(2, 1)
			w.now += 20
			stale.Call, stale.Return = w.now, w.now+10
			w.ops = append(w.ops, stale)
		}},
		"read of other content": {"order", func(w *world) {
			w.append(1, 1)
			w.read().Chain++
		}},
		"order against time": {"order", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.ops[0].Call, w.ops[1].Call = w.ops[1].Call, w.ops[0].Call
			w.ops[0].Return, w.ops[1].Return = w.ops[1].Return, w.ops[0].Return
		}},
		"wrong mismatch": {"order", func(w *world) {
			w.append(1, 1)
			w.refused(2, "sequence_mismatch", Op{Expect: 2, First: 2})
		}},
		"mismatch with a wrong number": {"order", func(w *world) {
			w.append(1, 1)
			w.refused(2, "sequence_mismatch", Op{Expect: 5, First: 3})
		}},
		"fenced by nobody": {"order", func(w *world) {
			w.append(1, 1)
			w.refused(2, "fenced", Op{Generation: 1, InForce: 2})
		}},
		"not fenced": {"order", func(w *world) {
			w.log.Status.Generation = 5
			w.append(1, 1).Generation = 5
			w.append(2, 1).Generation = 4
		}},
		"generation falls": {"order", func(w *world) {
			w.log.Status.Generation = 5
			w.append(1, 1).Generation = 5
			w.tail(1).InForce = 4
		}},
		"append after the end": {"order", func(w *world) {
			w.append(1, 1)
			end := *w.end(2)
			w.ops = w.ops[:1]
			w.append(3, 1)
			end.Call, end.Return = w.ops[0].Return+1, w.ops[0].Return+2
			end.First, end.Last = 2, 1
			w.ops = append(w.ops, end)
		}},
		"closed too early": {"order", func(w *world) {
			w.append(1, 1)
			w.refused(3, "closed", Op{Last: 1, Closed: true})
			w.end(2)
		}},
		"producer gap accepted": {"order", func(w *world) {
			w.append(1, 1).Producer = &streamhub.Producer{ID: "p", Seq: 0}
			w.append(2, 1).Producer = &streamhub.Producer{ID: "p", Seq: 2}
		}},
		"old epoch accepted": {"order", func(w *world) {
			w.append(1, 1).Producer = &streamhub.Producer{ID: "p", Epoch: 2}
			w.append(2, 1).Producer = &streamhub.Producer{ID: "p", Epoch: 1}
		}},
		"wrong gap": {"order", func(w *world) {
			w.append(1, 1).Producer = &streamhub.Producer{ID: "p", Seq: 0}
			w.refused(2, "producer_gap", Op{Producer: &streamhub.Producer{ID: "p", Seq: 1}, Seq: 1})
		}},
		"loss of more than was named": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.append(3, 1)
			w.log.Entries, w.log.Status.LastSequence = w.log.Entries[:1], 1
			w.losses = map[string][]Loss{"s/a": {{Keep: 2}}}
		}},
		"loss of what was there long before": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.append(3, 1)
			w.log.Entries, w.log.Status.LastSequence = w.log.Entries[:1], 1
			w.losses = map[string][]Loss{"s/a": {{Keep: 1, From: w.ops[2].Call}}}
		}},
		"two winners in a lost history": {"two winners", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.op(Op{Kind: Append, TRX: id(3), Records: digests(3, 1), First: 2, Last: 2})
			w.log.Entries, w.log.Status.LastSequence = w.log.Entries[:1], 1
			w.losses = map[string][]Loss{"s/a": {{Keep: 1}}}
		}},
		"stale status after a loss": {"order", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			w.losses = map[string][]Loss{"s/a": {{Keep: 1, From: w.ops[1].Call, To: w.now + 20}}}
			w.log.Entries, w.log.Status.LastSequence, w.number = w.log.Entries[:1:1], 1, 1
			w.now += 20
			w.append(3, 1)
			w.tail(1)
		}},
		"loss of what was confirmed": {"acknowledged, yet gone", func(w *world) {
			w.append(1, 1)
			w.append(2, 1).Outcome = Weak
			w.append(3, 1)
			w.log.Entries, w.log.Status.LastSequence = w.log.Entries[:1], 1
			w.losses = map[string][]Loss{"s/a": {{Keep: 1, Unconfirmed: true}}}
		}},
		"too long": {"too long", func(w *world) {
			for n := range 5001 {
				w.append(n, 1)
			}
		}},

		"follower misses one": {"gap", func(w *world) {
			w.append(1, 3)
			x := w.follow(1)
			x.Seen = slices.Delete(x.Seen, 1, 2)
		}},
		"follower stays behind": {"behind", func(w *world) {
			w.append(1, 3)
			x := w.follow(1)
			x.Reach, x.Seen = 3, x.Seen[:2]
		}},
		"follower begins late": {"gap", func(w *world) {
			w.append(1, 3)
			w.follow(2).From = 1
		}},
		"follower gets one twice": {"repeat", func(w *world) {
			w.append(1, 3)
			x := w.follow(1)
			x.Seen = slices.Insert(x.Seen, 1, x.Seen[1])
		}},
		"follower gets them in another order": {"repeat", func(w *world) {
			w.append(1, 3)
			x := w.follow(1)
			x.Seen[1], x.Seen[2] = x.Seen[2], x.Seen[1]
		}},
		"follower gets other bytes": {"other bytes", func(w *world) {
			w.append(1, 1)
			w.follow(1).Seen[0].Digest++
		}},
		"follower gets what is not there": {"other bytes", func(w *world) {
			w.append(1, 2)
			x := w.follow(1)
			x.Seen = append(x.Seen, Seen{Sequence: 3})
		}},
		"two ends": {"not the end", func(w *world) {
			w.append(1, 1)
			w.end(2)
			x := w.follow(1)
			x.Code, x.Verdict, x.Last, x.Late = "closed", w.log.Status.Verdict, 1, 1
		}},
		"end before the last entry": {"early end", func(w *world) {
			w.append(1, 2)
			w.end(2)
			x := w.follow(1)
			x.Seen = x.Seen[:1]
			x.Code, x.Verdict, x.Last = "closed", w.log.Status.Verdict, 2
		}},
		"end of an open segment": {"false end", func(w *world) {
			w.append(1, 1)
			w.follow(1).Code = "closed"
		}},
		"another verdict": {"other end", func(w *world) {
			w.append(1, 1)
			w.end(2)
			x := w.follow(1)
			x.Code, x.Verdict, x.Last = "closed", &streamhub.Verdict{Kind: streamhub.VerdictLost}, 1
		}},
		"false alarm": {"false alarm", func(w *world) {
			w.append(1, 1)
			w.follow(1).Code = "history_lost"
		}},
		"another loss": {"other loss", func(w *world) {
			w.append(1, 1)
			w.losses = map[string][]Loss{"s/a": {{Keep: 1}}}
			x := w.follow(1)
			x.Code, x.FirstLost = "history_lost", 1
		}},
		"follower goes on over a fork": {"silent fork", func(w *world) {
			w.append(1, 1)
			w.append(2, 1)
			x := w.follow(1)
			x.Seen = slices.Clone(x.Seen)
			w.log.Entries, w.log.Status.LastSequence, w.number = w.log.Entries[:1:1], 1, 1
			w.losses = map[string][]Loss{"s/a": {{Keep: 1, From: w.ops[0].Return, To: w.now + 20}}}
			w.now += 20
			w.append(3, 1)
			w.append(4, 1)
			x.Seen = append(x.Seen, w.log.Entries[2])
		}},
		"follower gives up": {"unexpected error", func(w *world) {
			w.append(1, 1)
			w.follow(1).Code = "unavailable"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			bad.make(w)
			r := w.check()
			if !r.Has(bad.kind) {
				t.Fatalf("want %q, got %v", bad.kind, r)
			}
			if text := r.Err().Error(); !strings.Contains(text, "seed 7") {
				t.Errorf("the report does not name its seed: %s", text)
			}
		})
	}
}

// TestPlanted shows that one stale status in a long history of many clients is found, and that the
// report names it.
func TestPlanted(t *testing.T) {
	w := newWorld()
	for n := range 3000 {
		w.append(n, 1+n%3).Client = fmt.Sprint("w", n%8)
		if n%3 == 0 {
			w.tail(w.log.Status.LastSequence)
		}
	}
	for i := range w.ops { // let them overlap
		w.ops[i].Return += int64(i * 7919 % 60)
	}
	if err := w.check().Err(); err != nil {
		t.Fatal(err)
	}
	stale := &w.ops[2000]
	for stale.Kind != Tail {
		stale = &w.ops[slices.IndexFunc(w.ops, func(o Op) bool { return o.Kind == Tail && o.Call > stale.Call })]
	}
	stale.Last -= 12
	r := w.check()
	if !r.Has("order") {
		t.Fatalf("not found: %v", r)
	}
	t.Log(r)
	if ops := r.Violations[0].Ops; len(ops) > 3 || !slices.ContainsFunc(ops, func(o Op) bool { return o.Kind == Tail && o.Call == stale.Call }) {
		t.Errorf("the report does not blame %v alone", stale)
	}
}

// TestAgree compares the two ways to decide, over random histories of which about half are wrong.
func TestAgree(t *testing.T) {
	wrong := 0
	const worlds = 2000
	for seed := range uint64(worlds) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld()
		for n := range 4 + r.IntN(20) {
			last := w.log.Status.LastSequence
			switch r.IntN(6) {
			case 0, 1:
				w.append(n, 1+r.IntN(2))
			case 2:
				w.tail(last)
			case 3:
				w.read()
			case 4:
				w.refused(n, "sequence_mismatch", Op{Expect: last + 2, First: last + 1})
			default:
				w.append(n, 1).Producer = &streamhub.Producer{ID: "p", Epoch: uint64(n)}
			}
		}
		for i := range w.ops { // stretch, and now and then move
			w.ops[i].Call -= r.Int64N(50)
			w.ops[i].Return += r.Int64N(50)
			if r.IntN(12) == 0 {
				by := r.Int64N(600) - 300
				w.ops[i].Call += by
				w.ops[i].Return += by
			}
		}
		report := w.check()
		if report.Has("checkers disagree") || report.Has("undecided") {
			t.Fatalf("seed %d: %v", seed, report)
		}
		if report.Err() != nil {
			wrong++
		}
	}
	if wrong < worlds/10 || wrong > worlds*9/10 {
		t.Errorf("%d of %d histories were wrong", wrong, worlds)
	}
}

// TestDecode shows that what a killed process was doing is known.
func TestDecode(t *testing.T) {
	rec := NewRecorder(nil)
	var out bytes.Buffer
	rec.Tee(&out)
	a, b := &Op{Kind: Append, TRX: id(1)}, &Op{Kind: Append, TRX: id(2)}
	rec.begin(a)
	rec.begin(b)
	rec.end(b, func() { b.note(nil) })
	out.WriteString(`{"half":`)
	ops, err := Decode(&out)
	if err != nil || len(ops) != 2 {
		t.Fatalf("%v %v", ops, err)
	}
	if ops[0].TRX != id(1) || ops[0].Outcome != Unknown || ops[1].TRX != id(2) || ops[1].Outcome != OK {
		t.Errorf("%v", ops)
	}
}
