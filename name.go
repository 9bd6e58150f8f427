package streamhub

import "fmt"

// CheckName returns [ErrInvalidName] unless name can name a space, a segment, a producer or a lease: 1 to
// [MaxNameLength] bytes of any value. what says in the error what the name is for.
func CheckName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the %s is empty", ErrInvalidName, what)
	case len(name) > MaxNameLength:
		return fmt.Errorf("%w: the %s has %d bytes, the limit is %d", ErrInvalidName, what, len(name), MaxNameLength)
	}
	return nil
}
