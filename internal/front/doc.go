// Package front is the gate before every transport. It decides who calls, from where, and whether the call may pass; a
// transport makes none of these decisions itself. docs/auth.md is for users.
package front
