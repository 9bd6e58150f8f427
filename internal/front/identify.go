package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// errNoTickets is the error for a ticket at a gateway that does not use tickets.
var errNoTickets = fmt.Errorf("%w: this gateway makes none", auth.ErrTicket)

// identify returns the principal of a request: from its bearer token, or else its ticket, or else its cookie. The
// cookie comes last, because a browser adds it by itself, while the sender chose the other two. An error is for the log
// and not for the client, unless it is an error of package streamhub.
func (g *Gate) identify(r *http.Request) (*auth.Principal, error) {
	token := auth.Bearer(r)
	if token == "" {
		if ticket := auth.TicketOf(r); ticket != "" {
			if g.tickets == nil {
				return nil, errNoTickets
			}
			return auth.CheckTicket(r.Context(), g.tickets, ticket, now())
		}
		token = auth.CookieToken(r, g.cookie)
	}
	return auth.Identify(r.Context(), g.verifier, token)
}

// presents reports whether a request carries credentials.
func (g *Gate) presents(r *http.Request) bool {
	return auth.Bearer(r) != "" || auth.TicketOf(r) != "" || auth.CookieToken(r, g.cookie) != ""
}

// verify returns the principal of a request, or an error for the client.
func (g *Gate) verify(r *http.Request, transport string) (*auth.Principal, error) {
	principal, err := g.identify(r)
	if err == nil {
		return principal, nil
	}
	return nil, g.unproven(r.Context(), transport, r, err)
}

// unproven counts and logs a refused token, and returns the error for the client. An outage of Redis stays
// ErrUnavailable, because the token may be valid.
func (g *Gate) unproven(ctx context.Context, transport string, r *http.Request, err error) error {
	if errors.Is(err, streamhub.ErrUnavailable) || errors.Is(err, streamhub.ErrUnknownOutcome) {
		return err
	}
	g.metrics.refused(ctx, transport, "token")
	g.strangers.Log(ctx, slog.LevelInfo, "a token was refused", "transport", transport, "remote", r.RemoteAddr, "path", r.URL.Path, "error", err)
	return fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
}
