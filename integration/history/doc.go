// Package history records what the clients of a hub did and saw, and checks it afterwards.
//
// Fault tests call it, and so may anybody who wants to test a deployment of their own: it needs
// nothing but a hub, or the store of package store.
//
//	rec := history.NewRecorder(nil)
//	client := rec.Client("writer 1", store)   // appends, closes, reads, follows; notes everything
//	…                                         // load, while things break
//	log, err := history.ReadLog(ctx, store, "space", "segment")
//	report := history.Check(rec.History(), []history.Log{log}, &history.Options{Seed: seed})
//	if err := report.Err(); err != nil { t.Fatal(err) }
//
// # Unknown outcomes
//
// An append whose outcome is unknown may have happened. Every append has a TRX id and the id is in
// its entries, so the log, read when the faults are over, tells: Check first settles every unknown
// outcome by it. A search that had to try both would find little.
//
// # Three checks
//
// The model: each segment is an object with a tail, a generation, an end and producers, and the
// operations of all clients, refusals included, must fit into one order of it (Porcupine). A check
// that takes too long to decide counts as failed.
//
// The audit: the log is contiguous, holds every acknowledged append once, whole and where its answer
// said, and nothing that was refused or never sent.
//
// The deliveries: what each follower got is the log from where it began, in order, without gap or
// repeat, with the end once and last.
//
// # Lost history
//
// A run in which Redis may lose acknowledged entries names each such event as a [Loss]. What was
// lost is counted then; everything else still has to hold.
package history
