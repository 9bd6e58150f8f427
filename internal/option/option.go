// Package option fills in the defaults of options.
package option

import (
	"log/slog"
	"time"
)

// Default replaces an option that was not given, or that is negative where that has no meaning.
func Default[T int | int64 | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// Logger replaces a logger that was not given by one that discards.
func Logger(logger **slog.Logger) {
	if *logger == nil {
		*logger = slog.New(slog.DiscardHandler)
	}
}
