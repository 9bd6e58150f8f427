package testredis

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A probe is a test that fails on purpose.
type probe struct {
	testing.TB
	errors []string
	end    func()
}

func (p *probe) Helper()                   {}
func (p *probe) Cleanup(f func())          { p.end = f }
func (p *probe) Errorf(f string, a ...any) { p.errors = append(p.errors, fmt.Sprintf(f, a...)) }

// TestDeclaredKeys shows which scripts the hook lets pass.
func TestDeclaredKeys(t *testing.T) {
	server := Start(t, nil)
	client := server.Client()
	probe := &probe{TB: t}
	client.AddHook(DeclaredKeys(probe, client.Options()))
	const header = "#!lua\n"
	for _, test := range []struct{ script, fault string }{
		{header + "return redis.call('SET', KEYS[1], 'v')", ""},
		{header + "redis.call('PUBLISH', 'c', 'm') redis.call('TIME') return redis.call('EXISTS', KEYS[1])", ""},
		{"return redis.pcall('GET', KEYS[1] .. 'x')", "GET of kx"},
		{header + "return redis.call('UNLINK', KEYS[1], 'y')", "UNLINK of y"},
		{header + "redis.call('SET', KEYS[1], '1') redis.call('DEL', KEYS[1]) return redis.call('GET', KEYS[1])", "GET of k,"},
	} {
		require.NoError(t, client.Set(t.Context(), "k", "v", 0).Err())
		sha := client.ScriptLoad(t.Context(), test.script)
		require.NoError(t, sha.Err())
		err := client.EvalSha(t.Context(), sha.Val(), []string{"k"}).Err()
		if test.fault == "" {
			require.NoError(t, err, test.script)
		} else {
			require.ErrorContains(t, err, test.fault, test.script)
		}
	}
	probe.end()
	slices.Sort(probe.errors)
	require.Len(t, probe.errors, 3)
	require.Contains(t, probe.errors[0], "GET of k,")
	require.Contains(t, probe.errors[1], "GET of kx,")
	require.Contains(t, probe.errors[2], "UNLINK of y,")
}
