// Package model explores what a store promises. A [Model] is a store as plain Go: it holds everything
// in memory, knows no Redis and does one thing after the other. Random programs run on a model and on
// the real thing at once, and every answer is compared: entries, order, positions, cursors, and errors
// with their fields.
//
// # Programs
//
// A program is a list of [Step] values, plain data that names nothing but small numbers: writer 1,
// segment b, the third cursor that was seen. What a number means is decided when the step runs, so a
// program stays one when steps are taken out, and a failing program is shrunk by taking steps out.
// [Generate] makes programs, [Run] runs one, and [Step] values print as Go.
//
// # Ways
//
// A [Way] is a real store as a program reaches it: a hub in the same process, a client of one gateway,
// a client of two gateways in turn. The same program has the same answers on each.
//
// # Names that only the store knows
//
// Incarnations, lineages, TRX ids and the proofs made from them are chosen by the store. The model
// chooses its own and the comparison goes by renaming: each name of the model stands for one name of
// the store from the moment when both first appear in an answer, and no name of the store stands for
// two.
//
// # Rules
//
// Each promise that the model keeps is a [Rule] that can be switched off. A model without one rule
// plays the store in the model's own test, and must be caught.
package model
