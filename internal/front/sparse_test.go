package front_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/front"
)

// TestSparse writes ten lines at once and then one a second, which counts those that were left out.
func TestSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		sparse := front.NewSparse(slog.New(slog.NewTextHandler(&out, nil)))
		lines := func() (n int) {
			n = strings.Count(out.String(), "\n")
			out.Reset()
			return n
		}
		for range 1000 {
			sparse.Log(t.Context(), slog.LevelInfo, "refused")
		}
		require.Equal(t, 10, lines())
		sparse.Log(t.Context(), slog.LevelDebug, "not wanted anyway")
		<-time.After(time.Second)
		_, err := io.WriteString(sparse, "an error of the server\n")
		require.NoError(t, err)
		require.Contains(t, out.String(), `msg="an error of the server" left_out=990`)
		require.Equal(t, 1, lines())
		<-time.After(time.Minute)
		for range 1000 {
			sparse.Log(t.Context(), slog.LevelInfo, "refused")
		}
		require.Equal(t, 10, lines())
	})
}
