package front

import (
	"log/slog"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/httpstatus/httpstatustest"
)

func TestEveryCodeHasItsStatus(t *testing.T) {
	g := &Gate{log: slog.New(slog.DiscardHandler)}
	httpstatustest.Run(t, g.failTicket, nil)
}
