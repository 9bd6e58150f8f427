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

// errNoTickets is for a ticket where none are made.
var errNoTickets = fmt.Errorf("%w: this gateway makes none", auth.ErrTicket)

// identify returns who makes a request: by its bearer token, or else by its ticket, or else by its
// cookie. The cookie comes last: the sender chose the other two, and a browser adds the cookie by itself. An error
// says why not; it is for the log and not for the client, unless it is one of package streamhub.
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

// presents reports whether a request says who makes it.
func (g *Gate) presents(r *http.Request) bool {
	return auth.Bearer(r) != "" || auth.TicketOf(r) != "" || auth.CookieToken(r, g.cookie) != ""
}

// verify looks at who makes a request.
func (g *Gate) verify(r *http.Request, transport string) (*auth.Principal, error) {
	principal, err := g.identify(r)
	if err == nil {
		return principal, nil
	}
	return nil, g.unproven(r.Context(), transport, r, err)
}

// unproven counts and logs a token that is refused, and returns what the client is told. Redis that does
// not answer is not the client's fault.
func (g *Gate) unproven(ctx context.Context, transport string, r *http.Request, err error) error {
	if errors.Is(err, streamhub.ErrUnavailable) || errors.Is(err, streamhub.ErrUnknownOutcome) {
		return err
	}
	g.metrics.refused(ctx, transport, "token")
	g.strangers.Log(ctx, slog.LevelInfo, "a token was refused", "transport", transport, "remote", r.RemoteAddr, "path", r.URL.Path, "error", err)
	return fmt.Errorf("%w: %w", streamhub.ErrUnauthenticated, err)
}
