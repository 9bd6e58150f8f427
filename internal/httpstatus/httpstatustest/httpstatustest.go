// Package httpstatustest is the contract of what a transport over HTTP answers to an error.
package httpstatustest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/httpstatus"
)

// Run has fail answer an error of every code. A client is told the same status as over every other transport, and
// no text of an error that is not for clients. instead has the codes that this transport answers as others; it may be nil.
func Run(t *testing.T, fail func(http.ResponseWriter, *http.Request, error), instead map[streamhub.Code]streamhub.Code) {
	t.Helper()
	for _, code := range streamhub.Codes() {
		err := code.Err()
		if code == streamhub.CodeInternal {
			err = errors.New("secret")
		}
		w := httptest.NewRecorder()
		fail(w, httptest.NewRequest(http.MethodGet, "/", nil), err)
		if other, ok := instead[code]; ok {
			code = other
		}
		want, told := httpstatus.Of(code)
		require.Equal(t, want, w.Code, code)
		require.Equal(t, told, !strings.Contains(w.Body.String(), "internal error"), code)
	}
}
