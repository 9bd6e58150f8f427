package redisx_test

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestByScore reads a sorted set whose scores rise, and whose members come and go, between any two pages.
func TestByScore(t *testing.T) {
	for _, addr := range []string{miniredis.RunT(t).Addr(), testredis.Start(t, nil).Addr()} {
		conn, err := redisx.Connect(t.Context(), clientOf(t, &redis.Options{Addr: addr}))
		require.NoError(t, err)
		const key, page = "sh:{x}:z", 10
		name := func(n int) string { return fmt.Sprintf("member-%03d", n) }
		add := func(score float64, from, to int) {
			for n := from; n < to; n++ {
				require.NoError(t, conn.ZAdd(t.Context(), key, redis.Z{Score: score, Member: name(n)}).Err())
			}
		}
		for word, between := range map[string]func(turn int){
			"nothing happens":             func(int) {},
			"those that were read move":   func(turn int) { add(2000, turn*3, turn*3+3) },
			"those to come move":          func(turn int) { add(2000, 100-turn*3, 103-turn*3) },
			"all of one score move":       func(turn int) { add(float64(2000+turn), 0, 40) },
			"those that were read go":     func(turn int) { require.NoError(t, conn.ZRem(t.Context(), key, "a", "b", "c").Err()) },
			"others come before and go":   func(turn int) { add(1000, 200+turn, 201+turn); conn.ZRem(t.Context(), key, "b", name(199+turn)) },
			"another one takes its place": func(turn int) { conn.ZRem(t.Context(), key, "a"); add(1, 300, 301) },
		} {
			require.NoError(t, conn.Del(t.Context(), key).Err())
			require.NoError(t, conn.ZAdd(t.Context(), key, redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 1000, Member: "b"}, redis.Z{Score: 1000, Member: "c"}).Err())
			add(1000, 0, 40)
			add(1500.5, 40, 100)
			got := map[any]int{}
			turn := 0
			for list, err := range conn.ByScore(t.Context(), key, page) {
				require.NoError(t, err)
				require.LessOrEqual(t, len(list), page)
				for _, z := range list {
					got[z.Member]++
				}
				turn++
				between(turn)
			}
			for n := range 100 {
				require.Equal(t, 1, got[name(n)], "%s: %s", word, name(n))
			}
			for member, times := range got {
				require.Equal(t, 1, times, "%s: %s", word, member)
			}
		}
		for _, err := range conn.ByScore(t.Context(), key, page) {
			require.NoError(t, err)
			break
		}
		for page, err := range conn.ByScore(t.Context(), "sh:{x}:none", page) {
			t.Fatal("an empty set has a page", page, err)
		}
		require.NoError(t, conn.Set(t.Context(), key, "text", 0).Err())
		for _, err := range conn.ByScore(t.Context(), key, page) {
			require.ErrorContains(t, err, "WRONGTYPE")
		}
	}
}
