// Package tier has the options that say which entries a hub moves from Redis into its archive and when, and the result
// of a restore.
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
// A [Policy] is a set of rules. An entry leaves Redis when a rule applies to it and it is stored in the archive;
// readers do not notice. Without a rule no entry leaves, but archived entries can still be read.
package tier
