package operate

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the handler offers is what the documentation of the package lists.
func TestOperationsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	documented := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^//\t(GET|DELETE) +(\w+)`).FindAllSubmatch(text, -1) {
		documented[string(line[1])+" "+string(line[2])] = true
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(operations)), slices.Collect(maps.Keys(documented)))
}
