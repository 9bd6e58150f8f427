// Package eventsource stores the events of entities in a hub. A program loads an entity by reading its events, and
// saves it by appending new events at the version that it has loaded.
//
// It is for programs that derive the state of domain objects from their events. All events of an area have one Go type.
//
//	store := eventsource.New[Event](c.Store(tenant), "orders", codec)
//	order, version, err := eventsource.Fold(ctx, store, "order-17", Order{}, Order.Apply)
//	err = store.Save(ctx, "order-17", []Event{…}, version, nil)
//
// # Where things are
//
// A tenant is a store of the hub, an area a space, and an entity a segment. The version of an entity is the sequence of
// its last event; an entity that does not exist has version 0. The snapshots of an entity are entries of another
// segment. They only make loading faster: all events stay.
//
// # Conflicts and repeats
//
// A save names the version that it builds on. If another program has saved meanwhile, nothing is stored and the error
// is a [ConflictError]. A save whose answer was lost may be repeated with the same [SaveOptions].ID: it is stored once,
// and the repeat succeeds. The id tells a repeat of a save from a conflict, which the version alone cannot do.
package eventsource
