// Package eventsource keeps the events of entities in a hub: an entity is loaded by reading its
// events, and saved by appending new ones at the version that it was loaded at.
//
// Programs that hold domain objects call it, with one type for all events of an area.
//
//	store := eventsource.New[Event](c.Store(tenant), "orders", codec)
//	order, version, err := eventsource.Fold(ctx, store, "order-17", Order{}, Order.Apply)
//	err = store.Save(ctx, "order-17", []Event{…}, version, nil)
//
// # Where things are
//
// A tenant is a store of the hub, an area a space, and an entity a segment. The version of an entity
// is the sequence of its last event; one that does not exist has version 0. Snapshots are entries of
// a segment of their own, and only ever a short cut: all events stay.
//
// # Conflicts and repeats
//
// A save names the version that it stands on. If another program has saved meanwhile, nothing is
// stored and the error is a [ConflictError]. A save whose answer was lost may be repeated with the
// same [SaveOptions].ID: it is stored once, and the repeat succeeds. So a conflict is told apart
// from a repeat of the same save, which a version alone cannot do.
package eventsource
