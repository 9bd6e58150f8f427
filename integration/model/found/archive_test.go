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

// Seed 281: a sweep had removed the place of a cursor before the space was archived, and after a restore the reader was
// told that history was lost.
func TestSweptBeforeArchive(t *testing.T) {
	try(t, []model.Step{
		{Op: "append", Space: "s", Seg: "d", N: 1},
		{Op: "append", Space: "s", Seg: "c", N: 1},
		{Op: "read space", Space: "s"},
		{Op: "delete", Space: "s", Seg: "d"},
		{Op: "sweep"},
		{Op: "archive"},
		{Op: "restore"},
		{Op: "read space", Space: "s", Cursor: 2},
	}, model.Archived)
}

// Seed 524, once the former was mended: what came after a restore took the place of what was lost by it, and could not be
// read any more. A second restore had forgotten the lineages, so a cursor of what was lost went on.
func TestLostByFormerRestore(t *testing.T) {
	try(t, []model.Step{
		{Op: "create", Space: "s", Seg: "b", N: 1, TTL: 5},
		{Op: "archive", Limit: 1},
		{Op: "append", Space: "s", Seg: "c", N: 3},
		{Op: "read space", Space: "s"},
		{Op: "restore"},
		{Op: "append", Space: "s", Seg: "b", N: 2},
		{Op: "archive", By: 1, Limit: 100},
		{Op: "restore"},
		{Op: "wait", For: 40},
		{Op: "archive", By: 1},
		{Op: "read space", Space: "s", Cursor: 1},
	}, model.Archived)
}

// Seed 938: the first change of a space, which is also its last one, is written in another form by a restore.
func TestOneChangeRestored(t *testing.T) {
	try(t, []model.Step{
		{Op: "append", Space: "s", Seg: "d", Close: "done"},
		{Op: "archive"},
		{Op: "restore"},
		{Op: "read space", Space: "s"},
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

// Seed 4032: the archiver found a segment that a follower had met after its deadline.
func TestExpiredByFollowerArchived(t *testing.T) {
	try(t, []model.Step{
		{Op: "create", Space: "s", Seg: "a", N: 1, TTL: 5000, Fixed: true},
		{Op: "archive"},
		{Op: "follow", Space: "s"},
		{Op: "wait", Space: "s", For: 90_000_000},
		{Op: "append", Space: "s", Seg: "c", N: 1},
		{Op: "archive"},
		{Op: "restore"},
	}, model.Archived)
}

// Seed 20003: a sweep had removed the place of a close before the space was archived, and after a restore the segment
// was open.
func TestCloseSweptBeforeArchive(t *testing.T) {
	try(t, []model.Step{
		{Op: "append", Space: "s", Seg: "b", N: 1},
		{Op: "append", Space: "s", Seg: "b", Close: "done"},
		{Op: "append", Space: "s", Seg: "a", N: 1},
		{Op: "sweep", Space: "s"},
		{Op: "archive"},
		{Op: "restore"},
		{Op: "append", Space: "s", Seg: "b", N: 1},
	}, model.Archived)
}

// Seeds 7581 and 11509: a restored fork without entries of its own counted from 0 where its parent was trimmed, and left
// the close of its parent out.
func TestForkContinuesAfterRestore(t *testing.T) {
	for _, end := range []model.Step{{Op: "trim", Space: "s", Seg: "b", UpTo: 9}, {Op: "close", Space: "s", Seg: "b", Close: "done"}} {
		try(t, []model.Step{
			{Op: "append", Space: "s", Seg: "b", N: 1},
			end,
			{Op: "fork", Space: "s", Seg: "d", Of: "b", At: 1},
			{Op: "archive"},
			{Op: "restore"},
			{Op: "append", Space: "s", Seg: "d", N: 2},
		}, model.Archived)
	}
}
