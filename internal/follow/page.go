package follow

import (
	"math"
	"sync"

	"github.com/seed-147127fe/streamhub"
)

// maxPage is more than a page holds.
const maxPage = math.MaxInt32

// A Page is what a follower gets at once: one entry or more, in order. Followers share it, so it
// must not be changed.
type Page struct {
	Entries []streamhub.Entry

	mu      sync.Mutex
	encoded map[any][]byte
}

// Encode returns what encode makes of the entries. It is called once for each key, for all followers:
// what all followers send alike is made once. The bytes must not be changed.
func (p *Page) Encode(key any, encode func([]streamhub.Entry) []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.encoded[key]
	if !ok {
		if p.encoded == nil {
			p.encoded = make(map[any][]byte, 1)
		}
		b = encode(p.Entries)
		p.encoded[key] = b
	}
	return b
}

// part is the page itself if all of it is asked for.
func (p *Page) part(from, to int) *Page {
	if from == 0 && to == len(p.Entries) {
		return p
	}
	return &Page{Entries: p.Entries[from:to]}
}
