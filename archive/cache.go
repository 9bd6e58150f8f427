package archive

import (
	"container/list"
	"sync"
)

// A cache keeps what was used last, up to a number of bytes.
type cache struct {
	mu    sync.Mutex
	left  int
	order *list.List // of *cached, the one used last in front
	items map[cacheKey]*list.Element
}

type cacheKey struct {
	space SpaceID
	key   string
}

type cached struct {
	key   cacheKey
	value any
	size  int
}

func newCache(size int) *cache {
	return &cache{left: size, order: list.New(), items: map[cacheKey]*list.Element{}}
}

func (c *cache) get(space SpaceID, key string) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[cacheKey{space, key}]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).value, true
}

func (c *cache) put(space SpaceID, key string, value any, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := cacheKey{space, key}
	if _, ok := c.items[k]; ok {
		return
	}
	c.items[k] = c.order.PushFront(&cached{k, value, size})
	for c.left -= size; c.left < 0; {
		c.remove(c.order.Back())
	}
}

// drop forgets a key that was deleted.
func (c *cache) drop(space SpaceID, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[cacheKey{space, key}]; ok {
		c.remove(e)
	}
}

func (c *cache) remove(e *list.Element) {
	v := e.Value.(*cached)
	c.order.Remove(e)
	delete(c.items, v.key)
	c.left += v.size
}
