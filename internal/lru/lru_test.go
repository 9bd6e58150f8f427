package lru_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/lru"
)

func TestCache(t *testing.T) {
	c := lru.New[string, int](10)
	holds := func(want map[string]int) {
		t.Helper()
		for _, key := range []string{"a", "b", "c", "d"} {
			value, ok := c.Get(key)
			wanted, kept := want[key]
			require.Equal(t, kept, ok, key)
			require.Equal(t, wanted, value, key)
		}
	}
	c.Put("a", 1, 4)
	c.Put("b", 2, 4)
	holds(map[string]int{"a": 1, "b": 2})
	_, _ = c.Get("a")
	c.Put("c", 3, 4)
	holds(map[string]int{"a": 1, "c": 3})
	c.Put("a", 4, 6)
	holds(map[string]int{"a": 4, "c": 3})
	c.Put("a", 5, 7)
	holds(map[string]int{"a": 5})
	c.Put("a", 6, 11)
	holds(nil)
	c.Put("b", 7, 10)
	c.Put("d", 8, 11)
	holds(map[string]int{"b": 7})
	c.Drop("b")
	c.Drop("b")
	holds(nil)
	c.Put("c", 9, 10)
	holds(map[string]int{"c": 9})
}
