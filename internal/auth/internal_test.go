package auth_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// TestInternal gives nobody what gateways keep for themselves.
func TestInternal(t *testing.T) {
	for _, scope := range []string{"streamkit::*", "streamkit::" + auth.Internal.String()} {
		p, err := auth.NewPrincipal("subject", "issuer", time.Now().Add(time.Hour), []string{scope})
		require.NoError(t, err)
		for _, space := range []string{"", "keys", uuid.Nil.String()} {
			require.False(t, p.Allows(auth.Internal, space, false))
			require.False(t, p.Allows(auth.Internal, space, true))
		}
		require.False(t, p.AllowsStore(auth.Internal))
	}
}
