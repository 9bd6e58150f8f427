package instance

import (
	"os"
	"strconv"
	"testing"
)

func TestName(t *testing.T) {
	host, process, ok := Split(Name() + "/0b0e")
	if !ok || host == "" || process != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q names host %q and process %q", Name(), host, process)
	}
	if len(Name()) > 80 {
		t.Errorf("%q has %d bytes", Name(), len(Name()))
	}
	for _, other := range []string{"", "worker-1", "a/b/c", "a/1/b/c", "0b0e4c1c-0000-4000-8000-000000000000"} {
		if _, _, ok := Split(other); ok {
			t.Errorf("%q names a host", other)
		}
	}
}
