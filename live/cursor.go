package live

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// A Cursor is an opaque text naming a position after one chunk of one generation: letters, digits,
// '-', '_' and '.'. The zero Cursor is the start of the generation that it is used with.
type Cursor string

// CursorAt is the cursor after the entry at p in the segment of a generation. The text begins with the generation in
// base 36: docs/live.md documents this form for HTTP clients.
func CursorAt(generation uint64, p streamhub.Position) Cursor {
	return Cursor(strconv.FormatUint(generation, 36) + "." + string(p.Cursor()))
}

// Split returns the generation and the cursor within the segment of that generation. The error is
// [streamhub.ErrInvalidCursor] if [CursorAt] did not make c.
func (c Cursor) Split() (uint64, streamhub.Cursor, error) {
	head, rest, ok := strings.Cut(string(c), ".")
	generation, err := strconv.ParseUint(head, 36, 63)
	at := streamhub.Cursor(rest)
	if !ok || err != nil || at == "" {
		return 0, "", fmt.Errorf("%w: %.200q is not a text that a chunk or a status gave", streamhub.ErrInvalidCursor, string(c))
	}
	_, err = at.Position()
	return generation, at, err
}

// Generation returns the generation of the position that c names, 0 for the zero Cursor.
func (c Cursor) Generation() (uint64, error) {
	if c == "" {
		return 0, nil
	}
	generation, _, err := c.Split()
	return generation, err
}
