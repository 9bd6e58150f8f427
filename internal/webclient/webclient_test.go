package webclient_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/webclient"
)

func get(headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, webclient.Path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	webclient.Serve(w, r)
	return w
}

func TestServe(t *testing.T) {
	plain := get()
	require.Equal(t, http.StatusOK, plain.Code)
	require.Equal(t, "text/javascript; charset=utf-8", plain.Header().Get("Content-Type"))
	require.Equal(t, "*", plain.Header().Get("Access-Control-Allow-Origin"))
	for _, name := range []string{"readLive", "produceLive", "LiveError"} {
		require.Contains(t, plain.Body.String(), "as "+name)
	}

	packed := get("Accept-Encoding", "br, gzip;q=0.8")
	require.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
	require.LessOrEqual(t, packed.Body.Len(), 6144, "what a page loads has a limit")
	unpacked, err := gzip.NewReader(bytes.NewReader(packed.Body.Bytes()))
	require.NoError(t, err)
	text, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	require.Equal(t, plain.Body.String(), string(text))

	for _, w := range []*httptest.ResponseRecorder{plain, packed} {
		again := get("Accept-Encoding", w.Header().Get("Content-Encoding"), "If-None-Match", w.Header().Get("Etag"))
		require.Equal(t, http.StatusNotModified, again.Code)
		require.Zero(t, again.Body.Len())
	}
	require.NotEqual(t, plain.Header().Get("Etag"), packed.Header().Get("Etag"))
	require.Empty(t, get("Accept-Encoding", "gzip;q=0, br").Header().Get("Content-Encoding"))
	require.Equal(t, http.StatusOK, get("If-None-Match", `"old"`).Code)
}
