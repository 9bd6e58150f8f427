// Package bench holds the programs that measure streamhub, each in a folder of its own. They are a
// module of their own, so that what they link stays out of the library.
package bench
