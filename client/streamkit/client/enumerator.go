package client

import "iter"

// A sequence is an [Enumerator] over an iterator.
type sequence[T any] struct {
	next    func() (T, error, bool)
	stop    func()
	current T
	err     error
}

// NewEnumerator returns an enumerator of items. Nothing is read before the first MoveNext.
func NewEnumerator[T any](items iter.Seq2[T, error]) Enumerator[T] {
	e := &sequence[T]{}
	e.next, e.stop = iter.Pull2(items)
	return e
}

// MoveNext goes to the next item. It is false at the end and after an error.
func (e *sequence[T]) MoveNext() bool {
	if e.err != nil {
		return false
	}
	item, err, ok := e.next()
	if e.current, e.err = item, err; !ok || err != nil {
		e.stop()
		return false
	}
	return true
}

// Current returns the item that MoveNext went to, or the error that ended the sequence.
func (e *sequence[T]) Current() (T, error) { return e.current, e.err }

// Err returns the error that ended the sequence, if one did.
func (e *sequence[T]) Err() error { return e.err }

// Dispose ends the sequence. It may be called at any time, more than once.
func (e *sequence[T]) Dispose() { e.stop() }
