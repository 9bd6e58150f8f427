package streamhub_test

import (
	"errors"
	"testing"
	"time"

	"github.com/seed-147127fe/streamhub"
)

func TestParseDurability(t *testing.T) {
	for text, want := range map[string]streamhub.Durability{
		"": {}, " ": {}, "fsync": {Fsync: true}, "replicas=2": {Replicas: 2},
		"replicas=1, fsync, timeout=2s": {Replicas: 1, Fsync: true, Timeout: 2 * time.Second},
		"timeout=5ms,replicas=1":        {Replicas: 1, Timeout: 5 * time.Millisecond},
	} {
		got, err := streamhub.ParseDurability(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if again, err := streamhub.ParseDurability(got.String()); err != nil || again != got {
			t.Errorf("%q became %q, which is %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{",", "fsync,", "fsync=1", "replicas", "replicas=-1", "replicas=1,replicas=2", "timeout=0s", "timeout=-1s", "timeout=2", "disk", "Fsync"} {
		if got, err := streamhub.ParseDurability(text); !errors.Is(err, streamhub.ErrInvalidArgument) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
