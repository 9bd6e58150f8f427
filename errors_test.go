package streamhub_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func TestVerdictText(t *testing.T) {
	require.Equal(t, "no verdict", streamhub.Verdict{}.String())
	require.Equal(t, "failed: no quota", fmt.Sprint(streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "no quota"}))
	require.Equal(t, `done: by 2; output {"n":2}`, fmt.Sprint(&streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "by 2", Output: []byte(`{"n":2}`)}))
}

// TestErrorTexts: an error says what failed, on what, why, and what to do.
func TestErrorTexts(t *testing.T) {
	closed := streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "out of tokens"}
	for want, err := range map[string]error{
		"expected sequence 5, but the next one is 8: see what is stored, then go on from there":            &streamhub.SequenceError{Expected: 8, Got: 5},
		"fenced: generation 5 is in force, and this call names 4: stop, or acquire the lease again":        &streamhub.FencedError{Current: 5, Got: 4},
		"fenced: generation 5 is in force, and this call names none: acquire the lease and pass its token": &streamhub.FencedError{Current: 5},
		"closed as failed after sequence 7: out of tokens":                                                 &streamhub.ClosedError{Verdict: closed, LastSequence: 7},
		"closed as done": &streamhub.ClosedError{Verdict: streamhub.Verdict{Kind: streamhub.VerdictDone}},
		"not found: the segment was removed (expired)": &streamhub.DeletedError{Verdict: streamhub.Verdict{Kind: streamhub.VerdictExpired}},
		"not found: the segment was removed (deleted): old; its forks still read it, and the name is free when the last of them is deleted":    &streamhub.DeletedError{Verdict: streamhub.Verdict{Kind: streamhub.VerdictDeleted, Reason: "old"}, Held: true},
		"the producer skipped a sequence: epoch 2 is in force and its next seq is 3: send that one":                                            &streamhub.ProducerError{Kind: streamhub.ErrProducerGap, Epoch: 2, ExpectedSeq: 3},
		"trimmed: entries that were asked for were removed; read on from sequence 4":                                                           &streamhub.TrimmedError{FirstKept: 4},
		"history was lost: the entries from sequence 4 on are not what they were; read them again, then go on":                                 &streamhub.HistoryLostError{FirstLost: 4},
		`the lease is held by "h" since 2023-11-14T22:13:20Z, for another 2s: try again then`:                                                  &streamhub.LeaseHeldError{Holder: "h", Token: 1700000000000000, Left: 2 * time.Second},
		"outcome unknown: cut off; repeat the call on the same hub or client with the TRX id 00000000-0000-0000-0000-000000000001 to learn it": &streamhub.UnknownOutcomeError{TRX: uuid.UUID{15: 1}, Err: errors.New("cut off")},
		"redis unavailable (down): refused; check that it runs and can be reached from here":                                                   &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: errors.New("refused")}},
		"gateway unavailable: refused; check its address, and that it runs":                                                                    &streamhub.UnavailableError{Reason: streamhub.ReasonGateway, Err: errors.New("refused")},
		`append "orders"/"order-17": expected sequence 5, but the next one is 8: see what is stored, then go on from there`:                    &streamhub.Error{Op: "append", Space: "orders", Segment: "order-17", Err: &streamhub.SequenceError{Expected: 8, Got: 5}},
		`renew lease "key": the lease was lost`:                                                                                                &streamhub.Error{Op: "renew lease", Lease: "key", Err: streamhub.ErrLeaseLost},
	} {
		if err.Error() != want {
			t.Errorf("%s\nwant\n%s", err, want)
		}
	}
}
