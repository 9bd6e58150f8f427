package wire_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// TestCarried: every field of every option reaches the other side. A new field that has no place in
// a message fails here.
func TestCarried(t *testing.T) {
	for _, example := range requests {
		request := reflect.New(reflect.TypeOf(example).Elem())
		fill(t, request.Elem())
		switch r := request.Interface().(type) {
		case *wire.Append:
			r.Known.Trimmed, r.Known.Mark = streamhub.TimelineID{}, 0 // readers of a space alone have them
		case *wire.JoinWorkers:
			r.Worker.LastSeen = time.Time{} // Redis says when
		}
		sent := request.Interface().(wire.Request)
		open, err := wire.DecodeOpen((&wire.Open{Request: sent}).Append(nil))
		require.NoError(t, err)
		require.Equal(t, sent, open.Request)
	}
}

// fill gives each field a value that is not the zero value.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(millis.Time(1700000000000)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	default:
		t.Fatalf("fill %v too", v.Type())
	}
}
