package auth_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// TestInternal gives nobody what gateways keep for themselves.
func TestInternal(t *testing.T) {
	for _, scope := range []string{"streamkit::*", "streamkit::" + auth.Internal.String()} {
		p, err := auth.Identify(t.Context(), known(streamhub.Identity{Subject: "subject", Issuer: "issuer", Expires: time.Now().Add(time.Hour), Scopes: []string{scope}}), "")
		require.NoError(t, err)
		for _, space := range []string{"", "keys", uuid.Nil.String()} {
			require.False(t, p.Allows(streamhub.Right{Store: auth.Internal, Space: space}))
			require.False(t, p.Allows(streamhub.Right{Store: auth.Internal, Space: space, Segment: "tickets", Write: true}))
		}
		require.False(t, p.AllowsStore(auth.Internal))
	}
}

// known is an authenticator that takes everybody for one.
type known streamhub.Identity

func (k known) Authenticate(context.Context, string) (*streamhub.Identity, error) {
	return (*streamhub.Identity)(&k), nil
}
