package follow

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/seed-147127fe/streamhub"
)

// maxPage is a bound that no page reaches.
const maxPage = math.MaxInt32

// A Page is one or more entries that a follower gets together, in order. Followers share it, so it must not be changed.
type Page struct {
	Entries []streamhub.Entry

	encoded atomic.Pointer[encoding]
	mu      sync.Mutex // held while an encoding is made
}

// An encoding is an encoded page, in an immutable linked list with the encodings that were made before it.
type encoding struct {
	key    any
	bytes  []byte
	before *encoding
}

// find returns the encoding with a key, or nil. The list is short: one encoding for each form that a transport sends.
func (e *encoding) find(key any) *encoding {
	for ; e != nil && e.key != key; e = e.before {
	}
	return e
}

// Encode returns the encoded entries. It calls encode only once for each key, and all followers share the result. The
// bytes must not be changed.
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

// part returns the entries from from to to as a page; the page itself if that is all of them.
func (p *Page) part(from, to int) *Page {
	if from == 0 && to == len(p.Entries) {
		return p
	}
	return &Page{Entries: p.Entries[from:to]}
}
