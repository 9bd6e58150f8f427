//go:build faults && !linux

package integration

import "time"

// machineClock is that of the machine: the times of several processes compare as long as nobody sets it.
func machineClock() int64 { return time.Now().UnixNano() }
