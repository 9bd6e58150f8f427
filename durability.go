package streamhub

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDurability reads a level such as "replicas=1, fsync, timeout=2s". The parts may come in any
// order, each once; an empty text is the default level. The error is an [ErrInvalidArgument].
func ParseDurability(text string) (Durability, error) {
	var d Durability
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" && strings.TrimSpace(text) == "" {
			break
		}
		name, value, given := strings.Cut(part, "=")
		var err error
		switch {
		case seen[name]:
			err = fmt.Errorf("%s comes twice", name)
		case name == "fsync" && !given:
			d.Fsync = true
		case name == "replicas":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 16)
			d.Replicas = int(n)
		case name == "timeout":
			d.Timeout, err = time.ParseDuration(value)
			if err == nil && d.Timeout < time.Millisecond {
				err = fmt.Errorf("timeout %v: want a millisecond or more", d.Timeout)
			}
		default:
			err = fmt.Errorf("%q: want replicas=N, fsync or timeout=D", part)
		}
		if err != nil {
			return Durability{}, fmt.Errorf("%w: durability %q: %w", ErrInvalidArgument, text, err)
		}
		seen[name] = true
	}
	return d, nil
}

// String is the inverse of [ParseDurability]; it is empty for the default level.
func (d Durability) String() string {
	var parts []string
	if d.Replicas != 0 {
		parts = append(parts, "replicas="+strconv.Itoa(d.Replicas))
	}
	if d.Fsync {
		parts = append(parts, "fsync")
	}
	if d.Timeout != 0 {
		parts = append(parts, "timeout="+d.Timeout.String())
	}
	return strings.Join(parts, ",")
}
