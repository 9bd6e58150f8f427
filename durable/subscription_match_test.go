package durable

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMatchPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"**", "a", true}, {"**", "a/b/c", true}, {"a/**", "a", true}, {"a/**", "a/b/c", true}, {"a/**", "b", false}, {"**/a", "a", true},
		{"**/a", "b/a", true}, {"**/a", "a/b", false}, {"*", "a", true}, {"*", "a/b", false}, {"a/*/c", "a/b/c", true}, {"a/*/c", "a/b/b/c", false},
		{"a/**/c/**/d", "a/c/c/d", true}, {"a/**/c/**/d", "a/d/c", false}, {"**/a/b/**/c", "a/a/b/a/b/x/c", true}, {"**/a/b", "a/b/a/b", true},
		{"*/**", "a", true}, {"**/*", "a", true}, {"**/*/*", "a", false}, {"a*", "ab", false}, {"**/**", "a", true}, {"a/b", "a/b/c", false},
	} {
		require.Equal(t, c.want, matchPath(strings.Split(c.pattern, "/"), strings.Split(c.path, "/")), "%s %s", c.pattern, c.path)
	}
}

// FuzzMatchPath compares with a regular expression, which takes linear time, and bounds the time.
func FuzzMatchPath(f *testing.F) {
	f.Add("**/a/*", "b/a/c")
	f.Add(strings.Repeat("**/a/", 12)+"b", strings.Repeat("a/", 120)+"c")
	f.Add(strings.Repeat("**/", 300)+"b", strings.Repeat("a/", 128))
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > maxPattern || len(path) > 257 {
			return
		}
		begun := time.Now()
		got := matchPath(strings.Split(pattern, "/"), strings.Split(path, "/"))
		require.Less(t, time.Since(begun), 5*time.Second)
		// Every element ends with a slash here, so that ** can be no element at all.
		var want strings.Builder
		want.WriteString(`(?s)\A`)
		for element := range strings.SplitSeq(pattern, "/") {
			switch element {
			case "**":
				want.WriteString(`(?:[^/]*/)*`)
			case "*":
				want.WriteString(`[^/]*/`)
			default:
				want.WriteString(regexp.QuoteMeta(element + "/"))
			}
		}
		expression, err := regexp.Compile(want.String() + `\z`)
		if err != nil {
			t.Skip(err) // it is not UTF-8
		}
		require.Equal(t, expression.MatchString(path+"/"), got)
	})
}
