// Package proc reads what a process has used so far, on Linux.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// CPU is the time that a process has used, 0 if it is not there.
func CPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	const ticksPerSecond = 100
	sum := time.Duration(0)
	for _, f := range strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[11:13] {
		ticks, _ := strconv.ParseInt(f, 10, 64)
		sum += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	return sum
}

// Resident is its resident memory in bytes, 0 if it is not there.
func Resident(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}
