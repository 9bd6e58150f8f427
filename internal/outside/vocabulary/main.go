// Command vocabulary uses package streamhub alone: cursors, errors and their codes.
package main

import (
	"errors"
	"fmt"
	"log"

	"github.com/seed-147127fe/streamhub"
)

func main() {
	var err error = &streamhub.Error{
		Op: "append", Space: "orders", Segment: "17",
		Err: &streamhub.SequenceError{Expected: 5, Got: 8},
	}
	if !errors.Is(err, streamhub.ErrSequenceMismatch) {
		log.Fatal(err)
	}
	fmt.Println(streamhub.CodeOf(err), err)
	position := streamhub.Position{Incarnation: 1, Lineage: 2, Sequence: 3, Proof: 4}
	read, err := position.Cursor().Position()
	if err != nil || read != position {
		log.Fatal(read, err)
	}
	if _, err := streamhub.Cursor("not a cursor").Position(); !errors.Is(err, streamhub.ErrInvalidCursor) {
		log.Fatal(err)
	}
	fmt.Println("ok")
}
