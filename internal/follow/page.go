package follow

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/seed-147127fe/streamhub"
)

// maxPage is more than a page holds.
const maxPage = math.MaxInt32

// A Page is what a follower gets at once: one entry or more, in order. Followers share it, so it
// must not be changed.
type Page struct {
	Entries []streamhub.Entry

	encoded atomic.Pointer[encoding]
	mu      sync.Mutex // held while one is made
}

// An encoding is what was made of a page, and leads to those that were made before it. It does not change.
type encoding struct {
	key    any
	bytes  []byte
	before *encoding
}

// find returns the encoding with a key, nil if there is none. There are as many as transports that send pages.
func (e *encoding) find(key any) *encoding {
	for ; e != nil && e.key != key; e = e.before {
	}
	return e
}

// Encode returns what encode makes of the entries. It is called once for each key, for all followers:
// what all followers send alike is made once. The bytes must not be changed.
func (p *Page) Encode(key any, encode func([]streamhub.Entry) []byte) []byte {
	if e := p.encoded.Load().find(key); e != nil {
		return e.bytes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	made := p.encoded.Load()
	e := made.find(key)
	if e == nil {
		e = &encoding{key, encode(p.Entries), made}
		p.encoded.Store(e)
	}
	return e.bytes
}

// part is the page itself if all of it is asked for.
func (p *Page) part(from, to int) *Page {
	if from == 0 && to == len(p.Entries) {
		return p
	}
	return &Page{Entries: p.Entries[from:to]}
}
