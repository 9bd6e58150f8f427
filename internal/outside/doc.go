// Package outside uses each public package of streamhub as a program of another project would.
//
// Its module path does not begin with that of streamhub, so the compiler refuses every import of an
// internal package: what compiles here, users can write. Each folder is one program, named after the
// package that it uses; the test runs them all.
package outside
