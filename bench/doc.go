// Package bench holds the programs that measure streamhub, each in a folder of its own, in a module
// of its own so that what they link stays out of the library.
package bench
