package model

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) {
	logging.Disable()
	testredis.Main(m)
}

// stepsEach is how many steps a program has at least.
const stepsEach = 40

// number reads an environment variable.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// TestSimulate runs SEEDS programs on every way, or the one of SEED. A program that fails is shrunk
// and printed as a test.
func TestSimulate(t *testing.T) {
	first, seeds := number(t, "SEED", 1), number(t, "SEEDS", 10)
	if os.Getenv("SEED") != "" && os.Getenv("SEEDS") == "" {
		seeds = 1
	}
	kinds := []Kind{InProcess, OneGateway, Archived}
	if os.Getenv("SEEDS")+os.Getenv("SEED") != "" {
		kinds = Kinds
	}
	if way := os.Getenv("WAY"); way != "" {
		kinds = []Kind{Kind(way)}
	}
	features := NewFeatures()
	start := time.Now()
	for seed := first; seed < first+seeds; seed++ {
		for _, kind := range kinds {
			if os.Getenv("KEEP_GOING") != "" {
				features.Begin()
				if err := try(t, kind, kind.Programs(stepsEach).Example(seed), features); err != nil {
					t.Errorf("caught by seed %d, %s: %v", seed, kind, err)
					if os.Getenv("KEEP_GOING") == "first" {
						return
					}
				}
				continue
			}
			if !simulate(t, seed, kind, features) {
				t.Fatalf("seed %d fails %s: repeat it with SEED=%d", seed, kind, seed)
			}
		}
		if seeds >= 1000 && seed%500 == 0 {
			t.Logf("%d seeds, %v", seed-first+1, time.Since(start).Round(time.Second))
		}
	}
	t.Logf("%d seeds on %d ways, %v\n%s", seeds, len(kinds), time.Since(start).Round(time.Millisecond), features.Table())
}

// simulate runs the program of one seed on one way.
func simulate(t *testing.T, seed int, kind Kind, features *Features) bool {
	t.Helper()
	for name, value := range map[string]string{"seed": strconv.Itoa(seed), "checks": "1", "nofailfile": "true", "shrinktime": "1s"} {
		require.NoError(t, flag.Set("rapid."+name, value))
	}
	programs := kind.Programs(stepsEach)
	var (
		last   []Step
		caught error
	)
	quiet := &quiet{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != errStop {
				panic(p)
			}
		}()
		rapid.Check(quiet, func(rt *rapid.T) {
			program := programs.Draw(rt, "")
			features.Begin()
			if err := try(t, kind, program, features); err != nil {
				last, caught = program, err
				rt.Fatalf("%v", err)
			}
		})
	}()
	if quiet.failed {
		enough := time.Now().Add(20 * time.Second)
		last = Shrink(last, func(p []Step) bool { return try(t, kind, p, nil) != nil }, func() bool { return time.Now().After(enough) })
		again := try(t, kind, last, nil)
		if again == nil {
			again = fmt.Errorf("%w, and not when it ran again", caught)
		}
		t.Logf("seed %d, %s: %v\n%s", seed, kind, again, Test("Seed"+strconv.Itoa(seed), last))
	}
	return !quiet.failed
}

// longest is how long a program may take: each wait in it has a bound of its own, and the machine may be busy.
const longest = 10 * time.Minute

// try runs a program on a way of its own.
func try(t *testing.T, kind Kind, program []Step, features *Features) error {
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	w, err := Open(ctx, kind, time.UnixMilli(Start))
	require.NoError(t, err)
	err = Run(ctx, w, program, features)
	require.NoError(t, w.Close())
	return err
}

var errStop = new(int)

// quiet takes what rapid says of a failure, so that it is said once.
type quiet struct {
	rapid.TB
	failed bool
}

func (q *quiet) Failed() bool          { return q.failed }
func (q *quiet) Fail()                 { q.failed = true }
func (q *quiet) FailNow()              { q.failed = true; panic(errStop) }
func (q *quiet) Errorf(string, ...any) { q.failed = true }
func (q *quiet) Error(...any)          { q.failed = true }
func (q *quiet) Fatalf(string, ...any) { q.FailNow() }
func (q *quiet) Fatal(...any)          { q.FailNow() }
func (q *quiet) Logf(string, ...any)   {}
func (q *quiet) Log(...any)            {}
