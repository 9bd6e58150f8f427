package redisx

import (
	"context"
	"time"

	"github.com/seed-147127fe/streamhub/internal/pause"
)

// MoveTime is how long a call waits for a slot that moves from one server of a cluster to another, if its context does
// not end before.
const MoveTime = 30 * time.Second

const firstMovePause = 5 * time.Millisecond

// LongestMovePause is the longest pause between two attempts while a slot moves.
const LongestMovePause = 100 * time.Millisecond

// Moving reports whether a server of a cluster has refused a command because the slot of its keys is moving, or has
// moved: TRYAGAIN, where some of the keys are on one server and some are not; ASK and MOVED, where the driver did not
// follow. A server says so before it runs anything, so the command has written nothing and may be sent again, though it
// be a script that writes. This is the only place where that is decided.
//
// A key that does not exist counts as one that is elsewhere. So a script that creates or looks for a key waits until
// its slot has moved.
func Moving(err error) bool {
	return isCode(err, "TRYAGAIN") || isCode(err, "ASK") || isCode(err, "MOVED")
}

// Settled calls do until its error is not that a slot moves, for as long as ctx and MoveTime allow.
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
