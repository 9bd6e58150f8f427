package dispatch_test

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/dispatch"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// TestComplete: what can be decoded has a row, and a row can be decoded.
func TestComplete(t *testing.T) {
	rows := map[wire.Op]*dispatch.Operation{}
	for _, o := range dispatch.Operations() {
		require.NotContains(t, rows, o.Op, o.Name)
		rows[o.Op] = o
		require.Same(t, o, dispatch.Of(o.NewRequest()))
	}
	for op := range wire.Op(255) {
		_, err := wire.DecodeOpen(slices.Concat([]byte{byte(op)}, make([]byte, 18)))
		var unknown *wire.UnknownOpError
		require.Equal(t, rows[op] == nil, errors.As(err, &unknown), "operation %d", op)
	}
	for _, o := range dispatch.Operations() {
		open, err := wire.DecodeOpen((&wire.Open{Request: o.NewRequest()}).Append(nil))
		require.NoError(t, err, o.Name)
		require.IsType(t, o.NewRequest(), open.Request)
	}
}

type nothing struct{}

func (nothing) Allows(streamhub.Right) bool { return false }

// TestRights: without rights nothing reaches a store, whatever is asked.
func TestRights(t *testing.T) {
	store := uuid.New()
	for _, o := range dispatch.Operations() {
		request := o.NewRequest()
		if consume, ok := request.(*wire.Consume); ok {
			require.Empty(t, slices.Collect(dispatch.Rights(store, consume)), "no space is read")
			consume.Cursors = map[string]streamhub.Cursor{"a": "", "b": ""}
			require.ElementsMatch(t, []streamhub.Right{{Store: store, Space: "a"}, {Store: store, Space: "b"}}, slices.Collect(dispatch.Rights(store, consume)))
		}
		require.ErrorIs(t, dispatch.Allowed(nothing{}, uuid.Nil, request), streamhub.ErrPermissionDenied, o.Name)
		require.NoError(t, dispatch.Allowed(nil, uuid.Nil, request))
	}
	for _, c := range []struct {
		request wire.Request
		want    []streamhub.Right
	}{
		{&wire.Trim{Space: "s", Segment: "a"}, []streamhub.Right{{Store: store, Space: "s", Segment: "a", Write: true}}},
		{&wire.Follow{Space: "s", Segment: "a"}, []streamhub.Right{{Store: store, Space: "s", Segment: "a"}}},
		{&wire.FollowSpace{Space: "s"}, []streamhub.Right{{Store: store, Space: "s"}}},
		{&wire.AcquireLease{}, []streamhub.Right{{Store: store, Write: true}}},
		{&wire.Create{Space: "s", Segment: "a", Options: streamhub.CreateOptions{ForkOf: "b"}},
			[]streamhub.Right{{Store: store, Space: "s", Segment: "a", Write: true}, {Store: store, Space: "s", Segment: "b"}}},
		{&wire.LiveSubscribe{Space: "s", ID: "a"}, []streamhub.Right{{Store: store, Space: "s", Segment: "a"}}},
		{&wire.LiveMessages{Space: "s", ID: "a"}, []streamhub.Right{{Store: store, Space: "s", Segment: "a", Write: true}}},
		{&wire.LiveFollow{Space: "s", IDs: []string{"a", "b"}}, []streamhub.Right{{Store: store, Space: "s", Segment: "a"}, {Store: store, Space: "s", Segment: "b"}}},
		{&wire.LiveList{Space: "s"}, []streamhub.Right{{Store: store, Space: "s"}}},
		{&unknown{}, []streamhub.Right{{Store: store, Write: true}}}, // the most there is
	} {
		require.Equal(t, c.want, slices.Collect(dispatch.Rights(store, c.request)), "%T", c.request)
	}
}

type unknown struct{ wire.Status }

func (*unknown) Op() wire.Op { return 200 }

// TestPage: the page on the protocol says of every operation what the table says.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| ([a-z ]+) \| (read|write)( \*)? \|(.*)\|(.*)\|(.*)\|$`).FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, line(row[1], row[2], row[3] == "write", row[4] != "", strings.TrimSpace(row[6]) != ""))
	}
	var table []string
	for _, o := range dispatch.Operations() {
		request, whole := o.NewRequest(), false
		if o.Op != wire.OpConsume {
			// Requests with a space are told by their field, whatever the row says.
			whole = !hasSpace(request)
		}
		table = append(table, line(strconv.Itoa(int(o.Op)), o.Name, o.Write, whole, o.Items))
	}
	require.ElementsMatch(t, table, documented)
}

func line(op, name string, write, whole, items bool) string {
	return op + " " + name + " write=" + strconv.FormatBool(write) + " whole=" + strconv.FormatBool(whole) + " items=" + strconv.FormatBool(items)
}

// hasSpace also checks that the row finds the space, and the segment, where the request has it.
func hasSpace(request wire.Request) bool {
	want := streamhub.Right{}
	for name, field := range map[string]*string{"Space": &want.Space, "Segment": &want.Segment, "ID": &want.Segment} {
		if v := reflect.ValueOf(request).Elem().FieldByName(name); v.IsValid() {
			*field = "a " + name
			v.SetString(*field)
		}
	}
	for right := range dispatch.Rights(uuid.Nil, request) {
		want.Write = right.Write
		return want.Space != "" && right == want
	}
	return false
}
