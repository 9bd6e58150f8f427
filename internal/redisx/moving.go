package redisx

import (
	"context"
	"time"

	"github.com/seed-147127fe/streamhub/internal/pause"
)

// MoveTime is how long a call waits for a slot that moves from one server of a cluster to another, unless its context
// ends first.
const MoveTime = 30 * time.Second

const firstMovePause = 5 * time.Millisecond

// LongestMovePause is the longest pause between two attempts while a slot moves.
const LongestMovePause = 100 * time.Millisecond

// Moving reports whether a server of a cluster has refused a command because the slot of its keys is moving, or has
// moved: TRYAGAIN, where some of the keys are on one server and some are not; ASK and MOVED, if the driver did not
// follow them. A server returns these errors before it runs the command. So nothing was written, and even a writing
// script may be sent again. Only this function makes that decision.
//
// For a moving slot, a key that does not exist counts as a key on the other server. So a script that creates a key, or
// reads a missing one, waits until its slot has moved.
func Moving(err error) bool {
	return isCode(err, "TRYAGAIN") || isCode(err, "ASK") || isCode(err, "MOVED")
}

// Settled repeats do while its error says that a slot is moving, for as long as ctx and MoveTime allow.
func Settled(ctx context.Context, do func() error) error {
	end := time.Now().Add(MoveTime)
	pauses := pause.Backoff{First: firstMovePause, Longest: LongestMovePause}
	for {
		err := do()
		if !Moving(err) || time.Now().After(end) || !pauses.Wait(ctx) {
			return err
		}
	}
}
