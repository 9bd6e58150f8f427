// Package openapi has the OpenAPI document of the plain HTTP API. The module below it checks the document,
// and every answer of the handlers against it.
package openapi

import (
	_ "embed" // the document
	"net/http"
)

// Path is where a gateway serves the document.
const Path = "/v1/openapi.json"

//go:embed openapi.json
var document []byte

// Document returns a copy of the document.
func Document() []byte { return append([]byte(nil), document...) }

// Serve answers with the document. Pages of any origin may read it: it says nothing of this gateway.
func Serve(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(document) // the client may be gone
}
