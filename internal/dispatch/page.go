package dispatch

import (
	"iter"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
)

// What a page of a read holds at most, an entry more or less.
const (
	pageEntries = 1000
	pageBytes   = 256 << 10
)

// paged gathers the entries of a read.
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
