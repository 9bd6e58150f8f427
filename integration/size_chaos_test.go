//go:build faults && chaos

package integration

// long says that the long runs were asked for.
const long = true
