// Package tier says what a hub moves from Redis into its archive, when, and what a restore brought
// back.
//
// A program passes [Options] to hub.Open beside the archive itself:
//
//	hub.Open(ctx, client, &hub.Options{
//		Archive:   backend, // archive/pebble or archive/azure
//		Archiving: tier.Options{Policy: tier.Policy{Age: 24 * time.Hour}},
//	})
//
// # Policies
//
// A [Policy] is a set of rules. An entry leaves Redis when one of them names it and it is stored in
// the archive; reads do not notice. Without a rule nothing leaves, but what has left before is still
// read.
package tier
