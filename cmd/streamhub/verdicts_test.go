package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// People close a segment with any verdict but those that say what the hub has done: that it expired, or was deleted.
func TestCloseTakesVerdicts(t *testing.T) {
	field, _ := reflect.TypeFor[closeCmd]().FieldByName("Verdict")
	want := slices.DeleteFunc(streamhub.VerdictKinds(), func(k streamhub.VerdictKind) bool {
		return k == streamhub.VerdictExpired || k == streamhub.VerdictDeleted
	})
	var got []streamhub.VerdictKind
	for _, kind := range strings.Split(field.Tag.Get("enum"), ",") {
		got = append(got, streamhub.VerdictKind(kind))
		require.Contains(t, field.Tag.Get("help"), kind)
	}
	require.Equal(t, want, got)
}
