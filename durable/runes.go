package durable

import (
	"bytes"
	"context"
	"slices"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
)

// wholeRunes is the length of text without the code point that it ends in the middle of, if any. What
// is no UTF-8 at all counts as whole.
func wholeRunes(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if start := len(text) - n; utf8.RuneStart(text[start]) {
			if !utf8.FullRune(text[start:]) {
				return start
			}
			break
		}
	}
	return len(text)
}

// A joiner makes whole code points of what appends have cut: an event is decoded by itself, so its
// two halves would each be broken. What it holds back, less than a code point, comes with the next
// event; the offset of an event is the true one all the same, and a reader that goes on from there
// is given what was held back before it.
type joiner struct {
	held []byte // the first bytes of a code point
	// before returns what ends the stream before the place where the reader began. It is asked once,
	// and only if the first bytes that come go on with a code point.
	before func() []byte
}

// step takes the parts of the next event. The event is made of prefix and them, without the last cut
// bytes, so readers with the same prefix share it.
func (j *joiner) step(parts ...[]byte) (prefix []byte, cut int) {
	if i := slices.IndexFunc(parts, func(p []byte) bool { return len(p) > 0 }); j.before != nil && i >= 0 {
		if !utf8.RuneStart(parts[i][0]) {
			j.held = j.before()
		}
		j.before = nil
	}
	prefix = j.held
	end := slices.Clone(prefix)
	for _, p := range parts {
		end = append(end, p[max(0, len(p)-utf8.UTFMax):]...)
		end = end[max(0, len(end)-utf8.UTFMax):]
	}
	j.held = bytes.Clone(end[wholeRunes(end):])
	return prefix, len(j.held)
}

// joined is prefix and text without the last cut bytes, which begin a code point that is not complete; see [joiner.step].
func joined(prefix, text []byte, cut int) []byte {
	if len(prefix) > 0 {
		text = slices.Concat(prefix, text)
	}
	return text[:len(text)-cut]
}

// cutBefore returns the bytes of the code point that a place of a stream lies in the middle of. Entries
// are kept from the first one on.
func (s *stream) cutBefore(ctx context.Context, first, after uint64) []byte {
	if after >= first+utf8.UTFMax {
		first = after - utf8.UTFMax + 2 // each append has a byte at least
	}
	if after < first {
		return nil
	}
	var text []byte
	for e, err := range s.store.ConsumeSegment(ctx, s.space, s.segment, &streamhub.ReadOptions{FromSequence: first, ToSequence: after}) {
		if err != nil {
			return nil // trimmed or lost: the reader gets what is there
		}
		text = append(text, e.Payload[max(0, len(e.Payload)-utf8.UTFMax):]...)
	}
	return text[wholeRunes(text):]
}
