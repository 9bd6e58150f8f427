package redisx

import (
	"net/url"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"":                  "",
		"orders-2026_v1.~x": "orders-2026_v1.~x",
		"a b":               "a%20b",
		"}{:*":              "%7D%7B%3A%2A",
		"%20":               "%2520",
		"ü\x00\xff":         "%C3%BC%00%FF",
	} {
		if got := Escape(name); got != want {
			t.Errorf("Escape(%q) = %q, want %q", name, got, want)
		}
	}
}

// FuzzEscape shows that no two names share a key: an independent decoder gives back the name.
func FuzzEscape(f *testing.F) {
	for _, name := range []string{"", "seg", "seg1", "%", "%41", "A", "a+b", "{x}", "\x00", "ä", "\xff\xfe", "..", "a:b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		key := Escape(name)
		if i := strings.IndexFunc(key, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-%", r)
		}); i >= 0 {
			t.Fatalf("Escape(%q) = %q: byte %d has a meaning in keys", name, key, i)
		}
		back, err := url.PathUnescape(key)
		if err != nil || back != name {
			t.Fatalf("Escape(%q) = %q, which decodes to %q, %v", name, key, back, err)
		}
	})
}

// FuzzUnescape shows that one name has one text.
func FuzzUnescape(f *testing.F) {
	for _, text := range []string{"", "seg", "%41", "%2A", "%2a", "%", "%4", "a b", "+"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name, ok := Unescape(text); ok && Escape(name) != text {
			t.Fatalf("%q is the name %q, whose text is %q", text, name, Escape(name))
		}
		if name, ok := Unescape(Escape(text)); !ok || name != text {
			t.Fatalf("%q -> %q -> %q, %v", text, Escape(text), name, ok)
		}
	})
}
