package hotlog

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestRestoredFields(t *testing.T) {
	t.Parallel()
	id := func(epoch, end string) string { return strings.Repeat("x", 24) + epoch + " 0 1 " + end + " 4 5000" }
	meta := func(more map[string]string) []byte {
		h := head{incarnation: 7, lineage: 3, state: stateOpen, last: 20, number: 30, generation: 2}
		fields := map[string]string{"h": string(h.appendTo(nil)) + "9000", "s": "{}", "b": "1000-0", "p:a": id("1", "20"), "p:b": id("1", "10")}
		maps.Copy(fields, more)
		return encodeFields(fields)
	}
	for _, c := range []struct {
		name string
		more map[string]string
		g    RestoredSegment
		want head   // last, number, timestamp, proof and state
		keys string // which fields are left
	}{
		{"appends were lost", map[string]string{"a": "1 1000 12345678"}, RestoredSegment{Last: 10, Number: 15, Proof: 8, Timestamp: 5000},
			head{last: 10, number: 15, timestamp: 5000, proof: 8, state: stateEmpty}, "a b f h p:b z"},
		{"closed", map[string]string{"a": "1 1000 12345678"}, RestoredSegment{Last: 20, Number: 1, Proof: 8, Timestamp: 1, Closed: true},
			head{last: 20, number: 30, timestamp: 9000, proof: 8, state: stateClosed}, "a b f h p:a p:b s z"},
		{"deleted, the last entry trimmed", nil, RestoredSegment{Last: 20, Proof: 8, Deleted: true},
			head{last: 20, number: 30, timestamp: 9000, proof: 8, state: stateDeleted}, "b f h p:a p:b s z"},
		{"trimmed after what is archived", map[string]string{"a": "16 1000 \x00\x00\x00\x00\x00\x00\x00\x09"}, RestoredSegment{Last: 10, Number: 15, Proof: 8, Timestamp: 5000},
			head{last: 15, number: 30, timestamp: 9000, proof: 9, state: stateEmpty}, "b f h p:b z"},
		{"a fork without entries", map[string]string{"p": "parent 0000000000000001 12"}, RestoredSegment{Number: 6, Proof: 5},
			head{last: 12, number: 6, timestamp: 1000, proof: 5, state: stateEmpty}, "b h p p:b"},
		{"without entries", nil, RestoredSegment{},
			head{timestamp: 1000, state: stateEmpty}, "b h"},
	} {
		c.g.Meta, c.g.Incarnation = meta(c.more), 7
		fields, fork, err := restoredFields(c.g)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		c.want.incarnation, c.want.lineage, c.want.generation = 7, 3, 2
		if h, err := parseHead(fields["h"]); h != c.want || err != nil {
			t.Errorf("%s: head %+v, %v; want %+v", c.name, h, err, c.want)
		}
		if keys := strings.Join(slices.Sorted(maps.Keys(fields)), " "); keys != c.keys {
			t.Errorf("%s: fields %s, want %s", c.name, keys, c.keys)
		}
		if next, _, _ := strings.Cut(fields["f"], " "); next != "" && next != strconv.FormatUint(c.want.last+1, 10) {
			t.Errorf("%s: goes on at %s after %d", c.name, next, c.want.last)
		}
		if (fork != nil) != (c.more["p"] != "") {
			t.Errorf("%s: fork of %v", c.name, fork)
		}
	}
	if _, _, err := restoredFields(RestoredSegment{Meta: meta(nil), Incarnation: 8}); err == nil {
		t.Error("the meta of another incarnation was taken")
	}
}
