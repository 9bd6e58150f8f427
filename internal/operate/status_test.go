package operate

import (
	"log/slog"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/httpstatus/httpstatustest"
)

func TestEveryCodeHasItsStatus(t *testing.T) {
	h := &Handler{opt: HandlerOptions{Logger: slog.New(slog.DiscardHandler)}}
	httpstatustest.Run(t, h.fail, nil)
}
