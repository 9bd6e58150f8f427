package durable

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/httpstatus/httpstatustest"
)

func TestEveryCodeHasItsStatus(t *testing.T) {
	d := &Handler{opt: Options{Logger: slog.New(slog.DiscardHandler)}}
	fail := func(w http.ResponseWriter, r *http.Request, err error) { d.fail(w, r, nil, err) }
	httpstatustest.Run(t, fail, map[streamhub.Code]streamhub.Code{
		streamhub.CodeOf(context.DeadlineExceeded): streamhub.CodeOf(streamhub.ErrUnavailable), // a call of the handler's own took too long
	})
}
