package redisx

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWeaken: what a cluster promises is what its weakest primary does, whichever is learned first.
func TestWeaken(t *testing.T) {
	strength := []string{"no", "everysec", "always"}
	for i, one := range strength {
		for j, other := range strength {
			s := &Server{AOF: true, Fsync: one}
			s.weaken(&Server{AOF: true, Fsync: other})
			require.Equal(t, strength[min(i, j)], s.Fsync, "%s and then %s", one, other)
		}
	}
	s := &Server{AOF: true, Fsync: "always"}
	s.weaken(&Server{AOF: true})
	require.Empty(t, s.Fsync, "what is not known promises nothing")
}
