package leasetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/lease"
)

// history records what several holders see who use one lease at random, and checks that one lease
// after all of it explains every answer.
func history(f *fixture) {
	const holders, calls = 8, 40
	seed := rand.Uint64()
	f.Logf("seed %d", seed)
	begin := time.Now()
	recorded := make([][]porcupine.Operation, holders)
	var running sync.WaitGroup
	for i := range holders {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range calls {
				recorded[i] = append(recorded[i], f.record(i, random, begin))
				f.think(random)
			}
		})
	}
	running.Wait()
	var all []porcupine.Operation
	answers := make(map[string]int)
	for _, operations := range recorded {
		for _, o := range operations {
			answers[o.Input.(input).verb+" "+o.Output.(output).status]++
		}
		all = append(all, operations...)
	}
	f.Log(answers)
	got, info := porcupine.CheckOperationsVerbose(model, all, 30*time.Second)
	if got != porcupine.Ok {
		f.Errorf("seed %d: no lease behaves like this (%s)", seed, got)
		f.explain(info)
	}
	for _, answer := range []string{"acquire granted", "acquire held", "renew renewed", "renew lost", "release released", "release none"} {
		if answers[answer] == 0 && !f.lossy {
			f.Errorf("seed %d never gave %q: the history shows too little", seed, answer)
		}
	}
}

// explain leaves the history as a page for people.
func (f *fixture) explain(info porcupine.LinearizationInfo) {
	file, err := os.CreateTemp("", "lease-history-*.html")
	if err != nil {
		f.Log(err)
		return
	}
	defer file.Close()
	if err := porcupine.Visualize(model, info, file); err != nil {
		f.Log(err)
	}
	f.Logf("see %s", file.Name())
}

const (
	shortest = 200 * time.Millisecond // longer than a call with lost replies takes
	slack    = 3 * time.Millisecond   // Redis counts in milliseconds
)

func (f *fixture) think(random *rand.Rand) {
	d := time.Duration(random.Int64N(int64(40 * time.Millisecond)))
	if random.IntN(10) == 0 {
		d = shortest + d // let it expire
	}
	f.pass(d)
}

type input struct {
	verb      string
	holder    string
	ttl       time.Duration
	call, ret time.Duration // since the begin of the history
}

type output struct {
	status string
	token  uint64
	holder string
}

// record makes one random call.
func (f *fixture) record(client int, random *rand.Rand, begin time.Time) porcupine.Operation {
	in := input{holder: fmt.Sprint("h", client), ttl: shortest + time.Duration(random.IntN(100))*time.Millisecond}
	out := output{holder: in.holder}
	var err error
	in.call = time.Since(begin)
	switch n := random.IntN(10); {
	case n < 4:
		in.verb, out.status = "acquire", "granted"
		out.token, err = f.AcquireAs(f.ctx, f.store, key, in.holder, in.ttl)
	case n < 7:
		in.verb, out.status = "renew", "renewed"
		out.token, err = f.RenewAs(f.ctx, f.store, key, in.holder, in.ttl)
	case n < 9:
		in.verb, out.status = "release", "none"
		var released bool
		if released, err = f.ReleaseAs(f.ctx, f.store, key, in.holder); released {
			out.status = "released"
		}
	default:
		in.verb, out.status = "peek", "held"
		var held lease.Held
		held, err = f.Peek(f.ctx, f.store, key)
		out.token, out.holder = held.Token, held.Holder
	}
	in.ret = time.Since(begin)
	var held *streamhub.LeaseHeldError
	switch {
	case err == nil:
	case errors.As(err, &held):
		out = output{"held", held.Token, held.Holder}
	case errors.Is(err, streamhub.ErrLeaseLost):
		out.status = "lost"
	case errors.Is(err, streamhub.ErrNotFound):
		out.status = "free"
	case f.lossy && in.verb == "release" && errors.Is(err, streamhub.ErrUnknownOutcome):
		out.status = "unknown"
	default:
		f.Errorf("%s: %v", in.verb, err)
	}
	return porcupine.Operation{ClientId: client, Input: in, Call: int64(in.call), Output: out, Return: int64(in.ret)}
}

// A state is the lease between two calls: who has it, with what token, and between which moments
// it expires, which depends on when within the call the script ran.
type state struct {
	holder       string // empty if it is free
	token, last  uint64
	early, later time.Duration
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) {
		return s.(state).step(in.(input), out.(output))
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
	DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
}

func (s state) step(in input, out output) (bool, state) {
	over := s.holder == "" || in.ret+slack >= s.early // it can be free
	has := func(holder string, token uint64) bool {
		return s.holder == holder && s.token == token && in.call <= s.later+slack
	}
	granted := state{in.holder, out.token, max(out.token, s.last), in.call + in.ttl, in.ret + in.ttl}
	free := state{last: s.last}
	switch out.status {
	case "granted":
		return has(in.holder, out.token) || over && out.token > s.last, granted
	case "renewed":
		return has(in.holder, out.token), granted
	case "held":
		return (in.verb == "peek" || in.holder != out.holder) && has(out.holder, out.token), s
	case "released":
		return has(in.holder, s.token), free
	case "lost", "none":
		if s.holder != in.holder {
			return true, s
		}
		return over, free
	case "unknown":
		if s.holder != in.holder {
			return true, s
		}
		return true, free
	case "free":
		return over, free
	}
	return false, s
}
