package main

import (
	"encoding"
	"reflect"

	"github.com/alecthomas/kong"
)

// anyBytes has the parser keep the bytes of texts and names. Its own decoders go through JSON, which replaces what is
// not UTF-8: two names would become one, and a lease would run another command than the one that was given.
func anyBytes() kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		for _, option := range []kong.Option{
			kong.KindMapper(reflect.String, kong.MapperFunc(decodeBytes)),
			kong.TypeMapper(reflect.TypeFor[segmentName](), kong.MapperFunc(decodeBytes)),
			kong.TypeMapper(reflect.TypeFor[placeName](), kong.MapperFunc(decodeBytes)),
		} {
			if err := option.Apply(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func decodeBytes(ctx *kong.DecodeContext, target reflect.Value) error {
	value := target.Addr().Interface()
	given, ok := ctx.Scan.Peek().Value.(string)
	if !ok { // of the file, a number say
		return ctx.Scan.PopValueInto("string", value)
	}
	if _, err := ctx.Scan.PopValue("string"); err != nil {
		return err
	}
	if text, ok := value.(encoding.TextUnmarshaler); ok {
		return text.UnmarshalText([]byte(given))
	}
	target.SetString(given)
	return nil
}
