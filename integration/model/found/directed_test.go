package found

import (
	"testing"

	"github.com/seed-147127fe/streamhub/integration/model"
)

// These programs were written by hand, for what the generator draws too seldom.

// A segment remembers about a hundred reigns of Redis. Where the one of a cursor was forgotten, the proof alone
// tells that its entry is another one.
func TestReignForgotten(t *testing.T) {
	program := []model.Step{
		{Op: "create", Space: "s", Seg: "a"},
		{Op: "save"},
		{Op: "append", Space: "s", Seg: "a", N: 1},
		{Op: "follow", Space: "s", Seg: "a"},
		{Op: "rewind"},
		{Op: "append", By: 1, Space: "s", Seg: "a", N: 1},
	}
	for range 140 {
		program = append(program, model.Step{Op: "promote"}, model.Step{Op: "append", By: 1, Space: "s", Seg: "a", N: 1})
	}
	try(t, append(program, model.Step{Op: "resume"})) // after the entry that was lost
}
