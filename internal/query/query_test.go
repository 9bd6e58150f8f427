package query_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/query"
)

// TestRefused names what cannot be read.
func TestRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a=%zz": "query", "a=1;b=1": "query", "a=1&a=0": "a is given more than once", "a": `a="": want 0 or 1`, "a=true": `a="true": want 0 or 1`,
	} {
		values, err := query.Of(&url.URL{RawQuery: text}, "a", "b")
		if err == nil {
			_, err = query.Flag(values, "a")
		}
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, text)
		require.ErrorContains(t, err, want, text)
	}
	values, err := query.Of(&url.URL{RawQuery: "id=1&id=2&a=1&c=long"}, "a", "b", "c")
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, values["id"])
	set, err := query.Flag(values, "a")
	require.NoError(t, err)
	require.True(t, set)
	set, err = query.Flag(values, "b")
	require.NoError(t, err)
	require.False(t, set)
	one, err := query.OneOf(values, "c", "short", "long")
	require.NoError(t, err)
	require.Equal(t, "long", one)
}
