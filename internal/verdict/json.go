package verdict

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
)

// JSON writes what a program says of a stream: its metadata, or its output. A text in v that is not UTF-8 is refused;
// package json would replace it by another one.
func JSON(what string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: the %s cannot be written as JSON: %w", streamhub.ErrInvalidArgument, what, err)
	}
	// Valid JSON may hold the escape that package json writes for such a text, so it only says that a look is worth it.
	if !utf8.Valid(b) || bytes.Contains(b, []byte(`\ufffd`)) && !isText(reflect.ValueOf(v)) {
		return nil, fmt.Errorf("%w: the %s is not UTF-8, which JSON is", streamhub.ErrInvalidArgument, what)
	}
	return b, nil
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// isText reports whether all texts in v are UTF-8. What writes itself is left to itself.
func isText(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Interface:
		return isText(v.Elem())
	}
	for _, t := range []reflect.Type{v.Type(), reflect.PointerTo(v.Type())} {
		if t.Implements(jsonMarshaler) || t.Implements(textMarshaler) {
			return true
		}
	}
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !isText(it.Key()) || !isText(it.Value()) {
				return false
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if !isText(v.Index(i)) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-" && !isText(v.Field(i)) {
				return false
			}
		}
	}
	return true
}
