package redisx

import (
	"net/url"
	"strings"
)

// Escape encodes a name of any bytes as a part of a key: letters, digits and ". _ ~ -" as they are, every other byte as
// %XX. Different names stay different, and no name can end a hash tag or reach into the part after it.
func Escape(name string) string {
	plain := 0
	for plain < len(name) && isPlain(name[plain]) {
		plain++
	}
	if plain == len(name) {
		return name
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(name) + 16)
	b.WriteString(name[:plain])
	for _, c := range []byte(name[plain:]) {
		if isPlain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// Unescape is the inverse of Escape; ok is false for a text that Escape does not produce.
func Unescape(text string) (name string, ok bool) {
	name, err := url.PathUnescape(text)
	return name, err == nil && Escape(name) == text
}

func isPlain(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '~' || c == '-'
}
