package livehttp

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
)

// A client is told the same status of an error as over every other transport.
func TestEveryCodeHasItsStatus(t *testing.T) {
	h := &Handler{opt: Options{Logger: slog.New(slog.DiscardHandler)}}
	for _, code := range streamhub.Codes() {
		err := code.Err()
		if code == streamhub.CodeInternal {
			err = errors.New("secret")
		}
		w := httptest.NewRecorder()
		h.fail(w, httptest.NewRequest(http.MethodGet, "/", nil), err)
		want, told := httpstatus.Of(code)
		require.Equal(t, want, w.Code, code)
		require.Equal(t, told, !strings.Contains(w.Body.String(), "internal error"), code)
	}
}
