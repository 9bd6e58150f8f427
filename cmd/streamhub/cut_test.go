package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-147127fe/streamhub"
)

// cutAll returns what a cutter makes of input.
func cutAll(c *cutter, input io.Reader) ([]batch, error) {
	out, failed := make(chan batch), make(chan error, 1)
	go c.run(context.Background(), input, out, failed)
	var all []batch
	for b := range out {
		all = append(all, b)
	}
	return all, <-failed
}

// join is the inverse of cutting.
func join(batches []batch, separator byte) []byte {
	var text []byte
	for _, b := range batches {
		for _, r := range b.records {
			text = appendRaw(text, &streamhub.Entry{Payload: r.Payload, Metadata: r.Metadata}, separator)
		}
	}
	return text
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		name, input string
		separator   byte
		want        []string // a record without separator ends with "|"
	}{
		{"nothing", "", '\n', nil},
		{"one line", "a\n", '\n', []string{"a"}},
		{"no end", "a\nb", '\n', []string{"a", "b|"}},
		{"empty lines", "\n\n", '\n', []string{"", ""}},
		{"carriage return", "a\r\nb\r", '\n', []string{"a\r", "b\r|"}},
		{"NUL stays", "a\x00b\n", '\n', []string{"a\x00b"}},
		{"null", "a\nb\x00\x00c", 0, []string{"a\nb", "", "c|"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, input := range []io.Reader{strings.NewReader(test.input), iotest.OneByteReader(strings.NewReader(test.input))} {
				batches, err := cutAll(&cutter{separator: test.separator, records: 2}, input)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, b := range batches {
					if len(b.records) > 2 {
						t.Errorf("a batch of %d records", len(b.records))
					}
					for _, r := range b.records {
						text := string(r.Payload)
						if r.Metadata["eol"] == "none" {
							text += "|"
						}
						got = append(got, text)
					}
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("%q, want %q", got, test.want)
				}
			}
		})
	}
}

func TestCutFullBatches(t *testing.T) {
	input := iotest.OneByteReader(strings.NewReader(strings.Repeat("x\n", 25)))
	batches, err := cutAll(&cutter{separator: '\n', records: 10, full: true}, input)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, b := range batches {
		sizes = append(sizes, len(b.records))
	}
	if want := []int{10, 10, 5}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, want %v", sizes, want)
	}
}

func TestCutTooLong(t *testing.T) {
	most := strings.Repeat("x", maxRecord)
	for _, test := range []struct {
		name, input string
		line, kept  int // 0: not too long
	}{
		{"at the limit", "a\n" + most + "\n", 0, 2},
		{"above", "a\nb\n" + most + "x\nc\n", 3, 2},
		{"above and endless", "a\n" + most + most + most, 2, 1},
		{"no room for eol", "a\n" + most, 2, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			batches, err := cutAll(&cutter{separator: '\n', records: 1000}, strings.NewReader(test.input))
			var tooLong *tooLongError
			switch {
			case test.line == 0 && err != nil, test.line != 0 && !errors.As(err, &tooLong):
				t.Fatal(err)
			case tooLong != nil && tooLong.line != test.line:
				t.Errorf("line %d, want %d", tooLong.line, test.line)
			}
			kept := 0
			for _, b := range batches {
				kept += len(b.records)
			}
			if kept != test.kept {
				t.Errorf("%d records are kept, want %d", kept, test.kept)
			}
		})
	}
}

func TestCutReadError(t *testing.T) {
	broken := errors.New("broken")
	batches, err := cutAll(&cutter{separator: '\n', records: 10}, io.MultiReader(strings.NewReader("a\nb\nc"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	// What may be half a line is not stored.
	if got := string(join(batches, '\n')); got != "a\nb\n" {
		t.Errorf("kept %q", got)
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\x00c"), true, uint8(3))
	f.Fuzz(func(t *testing.T, input []byte, null bool, size uint8) {
		c := &cutter{separator: '\n', records: int(size) + 1}
		if null {
			c.separator = 0
		}
		batches, err := cutAll(c, iotest.HalfReader(bytes.NewReader(input)))
		if err != nil {
			t.Fatal(err)
		}
		if got := join(batches, c.separator); !bytes.Equal(got, input) {
			t.Errorf("%q became %q", input, got)
		}
	})
}
