// Package front is the gate before every transport: who calls, from where, and whether the call may
// pass. A transport asks it and decides nothing of that itself. docs/auth.md is for users.
package front
