// Package query reads the parameters in the URL of a request. What cannot be read is refused by its
// name: answered with a default, the request would do something else than its client meant.
package query

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// Of returns the parameters of u. A part that is not escaped as in a URL is refused, and so is one of
// the names in single that is given more than once. The errors are [streamhub.ErrInvalidArgument].
func Of(u *url.URL, single ...string) (url.Values, error) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: the query of the URL: %w", streamhub.ErrInvalidArgument, err)
	}
	for _, name := range single {
		if len(values[name]) > 1 {
			return nil, fmt.Errorf("%w: %s is given more than once", streamhub.ErrInvalidArgument, name)
		}
	}
	return values, nil
}

// OneOf reads a parameter that has one of a few values; "" is one that is not given.
func OneOf(values url.Values, name string, wanted ...string) (string, error) {
	if !values.Has(name) {
		return "", nil
	}
	text := values.Get(name)
	if !slices.Contains(wanted, text) {
		return "", fmt.Errorf("%w: %s=%.40q: want %s", streamhub.ErrInvalidArgument, name, text, strings.Join(wanted, " or "))
	}
	return text, nil
}

// Flag reads a parameter that is 0 or 1; one that is not given is 0.
func Flag(values url.Values, name string) (bool, error) {
	text, err := OneOf(values, name, "0", "1")
	return text == "1", err
}
