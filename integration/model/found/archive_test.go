package found

import (
	"testing"

	"github.com/seed-147127fe/streamhub/integration/model"
)

// These programs have an archive. Each was drawn on the way that has one.

// Seed 1: a closed segment that was restored had forgotten that its close was an append.
func TestCloseRestored(t *testing.T) {
	try(t, []model.Step{
		{Op: "append", Space: "s", Seg: "d", N: 1},
		{Op: "wait", For: 1000},
		{Op: "close", Space: "s", Seg: "d", Close: "lost"},
		{Op: "archive"},
		{Op: "restore"},
		{Op: "status", Space: "s", Seg: "d"},
		{Op: "fork", Space: "s", Seg: "b", N: 1, Of: "d"},
	}, model.Archived)
}

// Seed 524: an append of an unknown outcome was archived, and stored once more when it was repeated after a restore.
func TestRepeatedAfterRestore(t *testing.T) {
	try(t, []model.Step{
		{Op: "append", Space: "s", Seg: "c", N: 1, Lose: 1000},
		{Op: "archive"},
		{Op: "restore"},
		{Op: "repeat", Space: "s"},
	}, model.Archived)
}

// Seed 161: the archiver itself ends a segment whose deadline has passed.
func TestExpiredByArchiver(t *testing.T) {
	try(t, []model.Step{
		{Op: "create", Space: "s", Seg: "b", N: 1, TTL: 5000, Fixed: true},
		{Op: "wait", Space: "s", For: 90_000_000},
		{Op: "archive"},
		{Op: "restore"},
		{Op: "read space", Space: "s"},
	}, model.Archived)
}

// Seed 138: a trim whose replies were lost had trimmed what is archived, and nothing more.
func TestTrimOfBoth(t *testing.T) {
	try(t, []model.Step{
		{Op: "append", Space: "s", Seg: "a", N: 1},
		{Op: "archive"},
		{Op: "append", Space: "s", Seg: "a", N: 2},
		{Op: "trim", Space: "s", Seg: "a", UpTo: 7, Lose: 2},
		{Op: "read", Space: "s", Seg: "a"},
	}, model.Archived)
}
