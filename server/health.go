package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// readyTime is how long Redis may take to answer before the server counts as not ready.
const readyTime = time.Second

// welcome answers people that open the address of a gateway in a browser.
func welcome(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `This is a gateway of streamhub.

/v1/live/ID         live streams, with an EventSource or curl
/v1/stream/PATH     Durable Streams, over plain HTTP
/streamz            WebSocket, for clients and the commands: streamhub ls --server URL
/v1/openapi.json    the plain HTTP API
/healthz, /readyz   whether it lives, and whether it can serve

The console is on another address, the admin listener.
`)
}

// alive is the liveness probe: any answer means that the process runs.
func alive(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// ready is the readiness probe: it says whether the server can serve calls now.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.gateway.Draining() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	if err := s.hub.Ready(ctx); err != nil {
		// Only one word is sent: the error may contain details that clients must not see.
		http.Error(w, redisx.Word(err), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
