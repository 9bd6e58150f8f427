package dispatch

import (
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
)

// The bounds of a page. A page is closed by the entry that reaches either of them, so one large entry
// may exceed pageBytes. They bound what a read gathers before the reply takes it.
const (
	pageEntries = 1000
	pageBytes   = 256 << 10
)

// paged groups the entries of a read into pages. Entries that were read before an error are passed on
// before it, so that the cursor of the result is after the last entry that was read. A page never
// changes after it was yielded: each one has a slice of its own.
func paged(entries iter.Seq2[streamhub.Entry, error]) iter.Seq2[*port.Page, error] {
	return func(yield func(*port.Page, error) bool) {
		var page []streamhub.Entry
		bytes := 0
		for e, err := range entries {
			if err != nil {
				if len(page) == 0 || yield(&port.Page{Entries: page}, nil) {
					yield(nil, err)
				}
				return
			}
			page = append(page, e)
			if bytes += len(e.Payload); len(page) == pageEntries || bytes >= pageBytes {
				if !yield(&port.Page{Entries: page}, nil) {
					return
				}
				page, bytes = nil, 0
			}
		}
		if len(page) > 0 {
			yield(&port.Page{Entries: page}, nil)
		}
	}
}
