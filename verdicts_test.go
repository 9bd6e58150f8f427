package streamhub_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// A kind of verdict that is added has to be added to what users read and to what other languages use.
func TestVerdictKindsEverywhere(t *testing.T) {
	listed := func(name, part, each string) (found []streamhub.VerdictKind) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, kind := range regexp.MustCompile(each).FindAllSubmatch(regexp.MustCompile(part).Find(text), -1) {
			found = append(found, streamhub.VerdictKind(kind[1]))
		}
		return found
	}
	kinds := streamhub.VerdictKinds()
	require.Equal(t, kinds, listed("status.go", `(?s)// The kinds of verdicts\..*?\n\)`, `= "(\w+)"`), "the constants")
	require.Equal(t, kinds, listed("live/doc.go", `(?s)# Verdicts.*?\n// A`, `//\t(\w+)`), "package live")
	require.Equal(t, kinds, listed("js/src/error.ts", `kind: .*`, `"(\w+)"`), "the package for the web")
	require.Equal(t, kinds, listed("internal/openapi/openapi.json", `(?s)"Verdict": \{.*?\]`, `(?m)^ +"(\w+)",?$`), "the OpenAPI document")
}
