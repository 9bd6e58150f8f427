package model

import "slices"

// Shrink takes out of a program what it does not need to fail, and stops when enough says so.
func Shrink(program []Step, fails func([]Step) bool, enough func() bool) []Step {
	for size := len(program) / 2; size > 0 && !enough(); {
		before := len(program)
		for i := 0; i+size <= len(program) && !enough(); {
			if less := slices.Delete(slices.Clone(program), i, i+size); fails(less) {
				program = less
			} else {
				i += size
			}
		}
		if size = min(size, len(program)); size == 1 && len(program) < before {
			continue
		}
		size /= 2
	}
	for i := range program {
		for j := 0; j < len(program[i].Batch) && !enough(); {
			less := slices.Clone(program)
			less[i].Batch = slices.Delete(slices.Clone(less[i].Batch), j, j+1)
			if fails(less) {
				program = less
			} else {
				j++
			}
		}
		for _, simpler := range simplifications {
			if enough() {
				break
			}
			less := slices.Clone(program)
			if less[i] = simpler(program[i]); fails(less) {
				program = less
			}
		}
	}
	return program
}

// simplifications are what could be left out of a step.
var simplifications = []func(Step) Step{
	func(s Step) Step { s.By = 0; return s },
	func(s Step) Step { s.N = min(s.N, 1); return s },
	func(s Step) Step { s.Meta = false; return s },
	func(s Step) Step { s.Expect = 0; return s },
	func(s Step) Step { s.Gen = 0; return s },
	func(s Step) Step { s.Producer, s.Turn, s.Epoch = "", 0, 0; return s },
	func(s Step) Step { s.Own = false; return s },
	func(s Step) Step { s.Type = ""; return s },
	func(s Step) Step { s.Order = ""; return s },
	func(s Step) Step { s.Must = false; return s },
	func(s Step) Step { s.Check = false; return s },
	func(s Step) Step { s.Life = 0; return s },
	func(s Step) Step { s.TTL, s.Fixed = 0, false; return s },
	func(s Step) Step { s.After, s.Until = 0, 0; return s },
	func(s Step) Step { s.Limit = 0; return s },
	func(s Step) Step { s.Slow = false; return s },
	func(s Step) Step { s.Live = false; return s },
	func(s Step) Step { s.From, s.To = 0, 0; return s },
	func(s Step) Step { s.Cursor = min(s.Cursor, 1); return s },
	func(s Step) Step { s.Pass = 0; return s },
	func(s Step) Step { s.Lose, s.Drop, s.Pass = 0, 0, 0; return s },
}
