package dispatch

import (
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
)

// The bounds of a page. A page is closed by the entry that reaches either of them, so one large entry may exceed
// pageBytes. They bound how much a read collects before it calls the reply.
const (
	pageEntries = 1000
	pageBytes   = 256 << 10
)

// paged groups the entries of a read into pages. Entries that were read before an error are yielded before the error,
// so that the cursor of the result includes them. A page is immutable after it was yielded: each page has its own
// slice.
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
