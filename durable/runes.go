package durable

import (
	"bytes"
	"context"
	"slices"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
)

// wholeRunes returns the length of text without an incomplete code point at its end. Bytes that are not UTF-8 count as
// complete.
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

// A joiner joins code points that are split between two appends. A client decodes each event by itself, so both halves
// would be broken. The joiner holds back an incomplete code point until the next event. The offset of the event is
// still the true one: a reader that resumes there gets the held bytes through before.
type joiner struct {
	held []byte // the beginning of an incomplete code point
	// before returns the incomplete code point at the end of the entries before the reader's start. It is called once,
	// and only if the first bytes continue a code point.
	before func() []byte
}

// step takes the parts of the next event. The event consists of prefix and the parts, without the last cut bytes.
// Readers with the same prefix can share its encoding.
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

// joined returns prefix and text without the last cut bytes, which begin an incomplete code point; see [joiner.step].
func joined(prefix, text []byte, cut int) []byte {
	if len(prefix) > 0 {
		text = slices.Concat(prefix, text)
	}
	return text[:len(text)-cut]
}

// cutBefore returns the bytes of an incomplete code point that end at sequence after. first is the first sequence that
// is kept.
func (s *stream) cutBefore(ctx context.Context, first, after uint64) []byte {
	if after >= first+utf8.UTFMax {
		first = after - utf8.UTFMax + 2 // each entry has at least one byte
	}
	if after < first {
		return nil
	}
	var text []byte
	for e, err := range s.store.ConsumeSegment(ctx, s.space, s.segment, &streamhub.ReadOptions{FromSequence: first, ToSequence: after}) {
		if err != nil {
			return nil // trimmed or lost: the reader gets the incomplete bytes
		}
		text = append(text, e.Payload[max(0, len(e.Payload)-utf8.UTFMax):]...)
	}
	return text[wholeRunes(text):]
}
