package hub

import (
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// Provider returns the hub as a [streamhub.Provider], for code that works with a hub in process or through a gateway.
func (h *Hub) Provider() streamhub.Provider { return provider{h} }

type provider struct{ hub *Hub }

func (p provider) Store(id uuid.UUID) streamhub.Store { return p.hub.Store(id) }
