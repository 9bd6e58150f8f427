// Package lru keeps what was used last, up to a number of bytes.
package lru

import (
	"container/list"
	"sync"
)

// A Cache keeps values by key. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	limit int

	mu    sync.Mutex
	bytes int
	items map[K]*list.Element
	order list.List // of *item[K, V], the one used last in front
}

type item[K comparable, V any] struct {
	key   K
	value V
	size  int
}

// New returns a cache of limit bytes. With a limit of 0 it keeps only values of cost 0.
func New[K comparable, V any](limit int) *Cache[K, V] {
	return &Cache[K, V]{limit: limit, items: map[K]*list.Element{}}
}

// Get returns the value of key; ok is false where none is kept.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item[K, V]).value, true
}

// Put keeps a value of size bytes in place of the one that key had, and forgets what was used longest ago as long as there is
// too much. A value that is larger than the limit is not kept.
func (c *Cache[K, V]) Put(key K, value V, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.remove(e)
	}
	if size > c.limit {
		return
	}
	c.items[key] = c.order.PushFront(&item[K, V]{key, value, size})
	for c.bytes += size; c.bytes > c.limit; {
		c.remove(c.order.Back())
	}
}

// Drop forgets a key.
func (c *Cache[K, V]) Drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.remove(e)
	}
}

// remove is called with the lock held.
func (c *Cache[K, V]) remove(e *list.Element) {
	old := c.order.Remove(e).(*item[K, V])
	delete(c.items, old.key)
	c.bytes -= old.size
}
