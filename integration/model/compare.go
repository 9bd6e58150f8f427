package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// lostFrom is the error of a reader whose history is not what it was from a sequence on. A store that
// cannot know where that begins, because the lineage itself is lost, may name an earlier sequence.
type lostFrom struct {
	first uint64
	sure  bool
}

func (e *lostFrom) Error() string {
	return fmt.Sprintf("history lost from %d, sure %v", e.first, e.sure)
}
func (e *lostFrom) Unwrap() error { return streamhub.ErrHistoryLost }

// describe is an error with the fields that contracts promise.
func describe(err error) string {
	var (
		deleted  *streamhub.DeletedError
		closed   *streamhub.ClosedError
		sequence *streamhub.SequenceError
		fenced   *streamhub.FencedError
		producer *streamhub.ProducerError
		trimmed  *streamhub.TrimmedError
		lost     *streamhub.HistoryLostError
		held     *streamhub.LeaseHeldError
	)
	code := string(streamhub.CodeOf(err))
	switch {
	case err == nil:
		return "none"
	case errors.As(err, &deleted):
		return fmt.Sprintf("%s: verdict %+v held %v", code, deleted.Verdict, deleted.Held)
	case errors.As(err, &closed):
		return fmt.Sprintf("%s: verdict %+v last %d", code, closed.Verdict, closed.LastSequence)
	case errors.As(err, &sequence):
		return fmt.Sprintf("%s: %+v", code, *sequence)
	case errors.As(err, &fenced):
		return fmt.Sprintf("%s: %+v", code, *fenced)
	case errors.As(err, &producer):
		return fmt.Sprintf("%s: epoch %d expected %d", code, producer.Epoch, producer.ExpectedSeq)
	case errors.As(err, &trimmed):
		return fmt.Sprintf("%s: first kept %d, with a cursor %v, space %q", code, trimmed.FirstKept, trimmed.Cursor != "", trimmed.Space)
	case errors.As(err, &held):
		return fmt.Sprintf("%s: %+v", code, *held)
	case errors.As(err, &lost):
		return fmt.Sprintf("%s: first lost %d", code, lost.FirstLost)
	}
	return code
}

// sameError compares the error of a call with what the model says; space and segment are those of the
// call.
func sameError(got, want error, space, segment string) error {
	var from *lostFrom
	if errors.As(want, &from) {
		var lost *streamhub.HistoryLostError
		if !errors.As(got, &lost) || lost.FirstLost > from.first || lost.FirstLost == 0 || from.sure && lost.FirstLost != from.first {
			return fmt.Errorf("the error is %v (%s), want %v", got, describe(got), want)
		}
	} else if describe(got) != describe(want) {
		return fmt.Errorf("the error is %v (%s), want %s", got, describe(got), describe(want))
	}
	var outer *streamhub.Error
	if got != nil && (!errors.As(got, &outer) || outer.Space != space || outer.Segment != segment) {
		return fmt.Errorf("the error %v does not say where: want %q/%q", got, space, segment)
	}
	return nil
}

// names maps the random ids of the model to those of the store.
type names struct {
	lives, reigns, proofs   map[uint64]uint64
	trx                     map[uuid.UUID]uuid.UUID
	takenLives, takenReigns map[uint64]uint64 // those of the store
}

func newNames() *names {
	return &names{map[uint64]uint64{}, map[uint64]uint64{}, map[uint64]uint64{}, map[uuid.UUID]uuid.UUID{}, map[uint64]uint64{}, map[uint64]uint64{}}
}

// bind lets a name of the model stand for one of the store, and refuses another one.
func bind[K comparable](what string, known map[K]K, want, got K) error {
	if was, ok := known[want]; ok {
		if was != got {
			return fmt.Errorf("the %s is %v, and was %v before", what, got, was)
		}
		return nil
	}
	known[want] = got
	return nil
}

// unique is bind for names that the store may not use twice.
func unique(what string, known, taken map[uint64]uint64, want, got uint64) error {
	if _, ok := known[want]; !ok {
		if _, ok := taken[got]; ok {
			return fmt.Errorf("the %s %x has been used before", what, got)
		}
		taken[got] = want
	}
	return bind(what, known, want, got)
}

func (n *names) position(got, want streamhub.Position) error {
	var proof error
	if want.Proof == 0 {
		if got.Proof != 0 {
			proof = fmt.Errorf("the proof is %x, want none", got.Proof)
		}
	} else {
		proof = bind("proof", n.proofs, want.Proof, got.Proof)
	}
	err := errors.Join(unique("incarnation", n.lives, n.takenLives, want.Incarnation, got.Incarnation), proof)
	if want.Lineage != 0 { // the reign that took the entry is remembered
		err = errors.Join(err, unique("lineage", n.reigns, n.takenReigns, want.Lineage, got.Lineage))
	}
	if got.Sequence != want.Sequence {
		err = errors.Join(err, fmt.Errorf("the position is after %d, want %d", got.Sequence, want.Sequence))
	}
	if got.Timeline.IsZero() != want.Timeline.IsZero() {
		err = errors.Join(err, fmt.Errorf("the position %+v is along a space, or should be", got))
	}
	return err
}

func (n *names) append(got, want streamhub.TRX) error {
	err := errors.Join(bind("TRX id", n.trx, want.ID, got.ID), bind("proof", n.proofs, proofOf(want.ID), proofOf(got.ID)))
	if got.Number != want.Number {
		err = errors.Join(err, fmt.Errorf("the TRX number is %d, want %d", got.Number, want.Number))
	}
	return err
}

// result compares the answer to an append.
func (n *names) result(got, want streamhub.AppendResult) error {
	trx, position := got.TRX, got.Position
	if got.Repeated && want.Repeated {
		// Nor does it matter whether its position names the lineage of then or of now.
		want.Position.Lineage = 0
	}
	if want.TRX.ID != uuid.Nil {
		if err := errors.Join(n.append(got.TRX, want.TRX), n.position(got.Position, want.Position)); err != nil {
			return err
		}
	}
	got.TRX, got.Position, want.TRX, want.Position = streamhub.TRX{}, streamhub.Position{}, streamhub.TRX{}, streamhub.Position{}
	if got.Repeated && want.Repeated {
		// Contracts leave open whether a repeat tells what is or what was.
		got.Created, got.Closed, got.Generation = want.Created, want.Closed, want.Generation
	}
	if got != want {
		return fmt.Errorf("the result is %+v, want %+v (TRX %v, position %+v)", got, want, trx, position)
	}
	return nil
}

func (n *names) entry(got, want streamhub.Entry) error {
	switch {
	case got.Space != want.Space, got.Segment != want.Segment, got.Sequence != want.Sequence, got.Timestamp != want.Timestamp,
		string(got.Payload) != string(want.Payload), !maps.Equal(got.Metadata, want.Metadata):
		return fmt.Errorf("the entry is %s, want %s", brief(got), brief(want))
	}
	if err := errors.Join(n.append(got.TRX, want.TRX), n.position(got.Position, want.Position)); err != nil {
		return fmt.Errorf("entry %s: %w", brief(got), err)
	}
	return nil
}

func brief(e streamhub.Entry) string {
	return fmt.Sprintf("%s/%s %d at %v %q %v", e.Space, e.Segment, e.Sequence, e.Timestamp, e.Payload, e.Metadata)
}

func (n *names) entries(got, want []streamhub.Entry) error {
	for i := range min(len(got), len(want)) {
		if err := n.entry(got[i], want[i]); err != nil {
			return fmt.Errorf("entry %d of %d: %w", i+1, len(got), err)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d entries, want %d; %v, want %v", len(got), len(want), sequences(got), sequences(want))
	}
	return nil
}

func sequences(entries []streamhub.Entry) (list []string) {
	for _, e := range entries {
		list = append(list, fmt.Sprint(e.Segment, e.Sequence))
	}
	return list
}

func (n *names) status(got, want streamhub.Status) error {
	if err := n.position(got.Position, want.Position); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	var verdicts [2]string
	for i, s := range []*streamhub.Status{&got, &want} {
		if s.Verdict != nil {
			verdicts[i] = fmt.Sprintf("%+v", *s.Verdict)
		}
		s.Verdict, s.Position, s.Kept = nil, streamhub.Position{}, streamhub.Position{}
	}
	if got != want || verdicts[0] != verdicts[1] {
		return fmt.Errorf("the status is %+v %s, want %+v %s", got, verdicts[0], want, verdicts[1])
	}
	return nil
}

// list compares names; those in maybe may be missing.
func sameNames(got, want, maybe []string) error {
	var sure []string
	for _, name := range got {
		if slices.Contains(want, name) || !slices.Contains(maybe, name) {
			sure = append(sure, name)
		}
	}
	if !slices.IsSorted(got) || !slices.Equal(sure, want) {
		return fmt.Errorf("the list is %q, want %q, perhaps with %q", got, want, maybe)
	}
	return nil
}
