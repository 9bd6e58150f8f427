package follow

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// TestWindowHolds has positions of another history stand where those of the window do.
func TestWindowHolds(t *testing.T) {
	for name, timeline := range map[string]bool{"segment": false, "space": true} {
		t.Run(name, func(t *testing.T) {
			at := func(sequence, proof uint64) streamhub.Position {
				p := streamhub.Position{Incarnation: 1, Sequence: sequence, Proof: proof}
				if timeline {
					p.Timeline = streamhub.TimelineID{MS: 10, N: sequence}
				}
				return p
			}
			w := window{from: at(1, 11)}
			w.add([]streamhub.Entry{{Sequence: 2, Position: at(2, 12)}, {Sequence: 3, Position: at(3, 13)}})
			for _, p := range []streamhub.Position{at(1, 11), at(2, 12), at(3, 13), at(4, 99)} {
				require.True(t, w.holds(p), "%+v", p)
			}
			for _, p := range []streamhub.Position{at(1, 99), at(2, 99), at(3, 99), at(0, 10)} {
				require.False(t, w.holds(p), "%+v", p)
			}
			another := at(2, 12)
			another.Incarnation = 2
			require.False(t, w.holds(another))
			if timeline {
				require.True(t, w.holds(at(2, 0)), "a change without an entry has no proof")
			}
		})
	}
}
