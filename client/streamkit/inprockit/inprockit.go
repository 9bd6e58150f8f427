// Package inprockit reaches a hub in the same process. A node manager of streamkit is a hub here.
package inprockit

import (
	"context"
	"fmt"

	"errors"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/hub"
)

// An InProcBidiStreamProvider reaches a hub in the same process. The hub stays the caller's.
type InProcBidiStreamProvider struct{ hub *hub.Hub }

var _ api.BidiStreamProvider = (*InProcBidiStreamProvider)(nil)

// NewInProcBidiStreamProvider returns a provider for a hub. Calls have contexts of their own; ctx is not
// used.
func NewInProcBidiStreamProvider(_ context.Context, h *hub.Hub) *InProcBidiStreamProvider {
	return &InProcBidiStreamProvider{h}
}

// Hub returns the provider that package client uses.
func (p *InProcBidiStreamProvider) Hub() (streamhub.Provider, error) { return p.hub.Provider(), nil }

// CallStream returns [errors.ErrUnsupported].
func (p *InProcBidiStreamProvider) CallStream(context.Context, uuid.UUID, api.Routeable) (api.BidiStream, error) {
	return nil, fmt.Errorf("%w: a stream of streamkit's own", errors.ErrUnsupported)
}

// RegisterReconnectListener does nothing: there is no connection that could be lost.
func (p *InProcBidiStreamProvider) RegisterReconnectListener(api.ReconnectListener) {}

// UnregisterReconnectListener does nothing.
func (p *InProcBidiStreamProvider) UnregisterReconnectListener(api.ReconnectListener) {}
