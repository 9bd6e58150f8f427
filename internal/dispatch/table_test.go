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

func (nothing) Allows(uuid.UUID, string, bool) bool { return false }

// TestRights: without rights nothing reaches a store, whatever is asked.
func TestRights(t *testing.T) {
	for _, o := range dispatch.Operations() {
		request := o.NewRequest()
		if consume, ok := request.(*wire.Consume); ok {
			require.Empty(t, slices.Collect(dispatch.Rights(consume)), "no space is read")
			consume.Cursors = map[string]streamhub.Cursor{"a": "", "b": ""}
			require.ElementsMatch(t, []dispatch.Right{{Space: "a"}, {Space: "b"}}, slices.Collect(dispatch.Rights(consume)))
		}
		require.ErrorIs(t, dispatch.Allowed(nothing{}, uuid.Nil, request), streamhub.ErrPermissionDenied, o.Name)
		require.NoError(t, dispatch.Allowed(nil, uuid.Nil, request))
	}
	require.Equal(t, []dispatch.Right{{Space: "s", Write: true}}, slices.Collect(dispatch.Rights(&wire.Trim{Space: "s"})))
	require.Equal(t, []dispatch.Right{{Space: "s"}}, slices.Collect(dispatch.Rights(&wire.Follow{Space: "s"})))
	require.Equal(t, []dispatch.Right{{Write: true}}, slices.Collect(dispatch.Rights(&wire.AcquireLease{})))
	require.Equal(t, []dispatch.Right{{Write: true}}, slices.Collect(dispatch.Rights(&unknown{})), "the most there is")
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

// hasSpace also checks that the row finds the space where the request has it.
func hasSpace(request wire.Request) bool {
	v := reflect.ValueOf(request).Elem().FieldByName("Space")
	if !v.IsValid() {
		return false
	}
	v.SetString("a space")
	for right := range dispatch.Rights(request) {
		return right.Space == "a space"
	}
	return false
}
