package streamhub_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// TestRetryable has a line for every code and every reason.
func TestRetryable(t *testing.T) {
	helps := map[streamhub.Code]bool{
		"sequence_mismatch": false, "fenced": false, "closed": false, "producer_gap": false, "producer_fenced": false,
		"batch_mismatch": false, "conflict": false, "not_found": false, "history_lost": false, "trimmed": false,
		"lease_not_acquired": false, "lease_lost": false, "invalid_name": false, "invalid_cursor": false,
		"invalid_argument": false, "too_large": false, "not_confirmed": false, "corrupt": false, "shutdown": false,
		"unauthenticated": false, "permission_denied": false, "limit_exceeded": false, "quota": false, "canceled": false,
		"deadline_exceeded": false, "internal": false,
		"unknown_outcome": true, "unavailable": true,
	}
	for _, code := range streamhub.Codes() {
		want, listed := helps[code]
		require.True(t, listed, "say of %s whether asking again can help", code)
		err := code.Err()
		if err == nil {
			err = errors.New("something else")
		}
		require.Equal(t, want, streamhub.Retryable(err), code)
		require.Equal(t, want, streamhub.Retryable(&streamhub.Error{Op: "append", Err: fmt.Errorf("wrapped: %w", err)}), code)
		delete(helps, code)
	}
	require.Empty(t, helps, "no code")

	reasons := map[streamhub.UnavailableReason]bool{
		"down": true, "loading": true, "read-only": true, "full": true, "no-replicas": true, "busy": true,
		"pool": true, "gateway": true, "denied": false, "tls": false,
	}
	for _, reason := range declaredReasons(t) {
		want, listed := reasons[reason]
		require.True(t, listed, "say of %s whether asking again can help", reason)
		err := &streamhub.UnavailableError{Reason: reason, Err: errors.New("x")}
		require.Equal(t, want, streamhub.Retryable(err), reason)
		require.Equal(t, want, streamhub.Retryable(&streamhub.UnknownOutcomeError{TRX: uuid.New(), Err: err}), "unknown, and then %s", reason)
		delete(reasons, reason)
	}
	require.Empty(t, reasons, "no reason")

	require.False(t, streamhub.Retryable(nil))
	require.False(t, streamhub.Retryable(&streamhub.ProducerError{Kind: streamhub.ErrUnknownOutcome}), "a final answer")
	require.False(t, streamhub.Retryable(errors.Join(streamhub.ErrUnknownOutcome, streamhub.ErrUnauthenticated)))
	require.True(t, streamhub.Retryable(&streamhub.UnavailableError{Reason: "a later one", Err: errors.New("x")}))
}

// declaredReasons reads them from the source, so that a new one is noticed.
func declaredReasons(t *testing.T) (all []streamhub.UnavailableReason) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			all = append(all, streamhub.UnavailableReason(text))
		}
		return true
	})
	require.NotEmpty(t, all)
	return all
}
