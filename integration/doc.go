// Package integration breaks things under a hub and proves that nothing but time was lost.
//
// It holds no code for others. Its tests need redis-server, start every server and process they
// use, and have the build tag faults; with chaos as well they run longer:
//
//	go test -tags=faults ./integration/...          a short run of every fault (make test-faults)
//	go test -tags=faults,chaos ./integration/...    the long ones (make chaos)
//
// Some have a target of their own, which says how often: make slots, make test-failovers, make test-power, and for
// cmd/streamhub make test-starts.
//
// # What a test looks like
//
// A [history.Recorder] notes what its clients do while a schedule, drawn from a seed, breaks
// servers, links and processes. Then everything heals, which has a deadline of its own, the logs
// are read, and package history looks for an order that explains it all. A run in which too little
// was acknowledged before or after the faults proves nothing and fails.
//
// # To add a fault
//
//   - A fault of a server or of a link is a line of the table breakages in chaos_test.go: a name, and a
//     function that breaks and heals. It is drawn like the others from then on, and its name
//     appears in schedules.
//   - A fault with a promise of its own, such as who is told what, is a test of its own: start the
//     servers with package testredis, put faultproxy between (through connects a client), record,
//     break, heal, and end with check.
//   - A fault of a process is a role in worker_test.go: a function that reads its configuration
//     and writes lines. start runs it as a child, which a test stops, continues and kills.
//   - A new check belongs into package history, with a history made by hand that it finds.
//   - Then plant the bug that the fault is there to find, from outside, as planted_test.go does,
//     and see it go red.
//
// # To read a report
//
// The first line has the seed and the counts, then follow the schedule of the faults, as it
// happened, and the violations. Each names the segment, its kind, and the few operations that show
// it, with times in milliseconds on the clock of the run:
//
//   - order: two operations contradict each other. By the log the first one comes after a write and
//     the second one before it, but the first had ended when the second began. Or one operation
//     contradicts the log: no state that the segment was ever in gives its answer.
//   - acknowledged, yet gone; refused, yet there; stored twice; stray; torn: the log does not say
//     what the callers were told.
//   - gap, repeat, other bytes, early end, behind: what a follower got.
//   - undecided, too long: the run was too large to be checked, which is no success.
//
// A run with the same seed draws the same plan; what meets which operation is up to the machine:
//
//	STREAMHUB_SEED=7 go test -tags=faults -run TestChaosSingle ./integration
package integration
