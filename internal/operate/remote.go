package operate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

// maxAnswer is the largest JSON value of a response, in bytes.
const maxAnswer = 16 << 20

type remote struct {
	bases  []string
	token  string
	client *http.Client
}

// NewRemote returns the operations of the servers at bases, such as http://HOST:PORT. A request goes to the first of
// them that can be connected to. token, unless it is "", is sent with each request; for an admin listener it is the
// admin token.
func NewRemote(bases []string, token string, client *http.Client) Operations {
	return remote{bases, token, client}
}

// ask makes a request. The caller closes the body of the response.
func (c remote) ask(ctx context.Context, method string, store uuid.UUID, operation string, query url.Values) (io.ReadCloser, error) {
	path := root + operation
	if store != uuid.Nil {
		path = storesPrefix + store.String() + path
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	answer, err := c.send(ctx, method, path)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	var f failure
	if json.Unmarshal(text, &f) != nil || f.Code == "" {
		f = failure{"", "the gateway answered " + answer.Status}
		switch answer.StatusCode {
		case http.StatusUnauthorized:
			f.Code = string(streamhub.CodeOf(streamhub.ErrUnauthenticated))
		case http.StatusForbidden:
			f.Code = string(streamhub.CodeOf(streamhub.ErrPermissionDenied))
		case http.StatusBadRequest: // the answer of package net/http to plain HTTP on a TLS port
			f.Message += ": if it speaks TLS, its address begins with https:// or wss://"
		case http.StatusNotFound:
			f.Message = "the gateway does not know what was asked: it is older than this program, or no streamhub"
		}
	}
	return nil, f.err()
}

// send sends a request to the first server that can be connected to.
func (c remote) send(ctx context.Context, method, path string) (*http.Response, error) {
	var failed error
	for _, base := range c.bases {
		r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", streamhub.ErrInvalidArgument, err)
		}
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		answer, err := c.client.Do(r)
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		failed = &streamhub.UnavailableError{Reason: streamhub.ReasonGateway, Err: err}
		if dial := (*net.OpError)(nil); !errors.As(err, &dial) || dial.Op != "dial" {
			break // the server may have done it
		}
	}
	return nil, failed
}

// An answeredError is the error text of a server, with the matching sentinel of package streamhub.
type answeredError struct {
	message   string
	condition error
}

func (e *answeredError) Error() string { return e.message }
func (e *answeredError) Unwrap() error { return e.condition }

func (f failure) err() error {
	condition := streamhub.Code(f.Code).Err()
	if condition == nil {
		return errors.New(f.Message)
	}
	if f.Message == "unauthorized" {
		return condition
	}
	return &answeredError{f.Message, condition}
}

// value sends a request whose response is one JSON value.
func (c remote) value(ctx context.Context, method string, store uuid.UUID, operation string, query url.Values, into any) error {
	body, err := c.ask(ctx, method, store, operation, query)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(into); err != nil {
		return cut(ctx, err)
	}
	return nil
}

// cut returns the error of a response that ends early.
func cut(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &streamhub.UnavailableError{Reason: streamhub.ReasonGateway, Err: fmt.Errorf("the answer was cut off: %w", err)}
}

// list sends a GET. The response is lines of JSON, and the last one may be an error.
func list[T any](ctx context.Context, c remote, store uuid.UUID, operation string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, err := c.ask(ctx, http.MethodGet, store, operation, query)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		in := bufio.NewScanner(body)
		in.Buffer(nil, maxAnswer)
		for in.Scan() {
			var end struct {
				Error *failure `json:"error"`
			}
			var v T
			err := json.Unmarshal(in.Bytes(), &v)
			if err == nil && strings.HasPrefix(in.Text(), `{"error":`) && json.Unmarshal(in.Bytes(), &end) == nil && end.Error != nil {
				yield(none, end.Error.err())
				return
			}
			if err != nil {
				yield(none, cut(ctx, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := in.Err(); err != nil {
			yield(none, cut(ctx, err))
		}
	}
}

func (c remote) Leases(ctx context.Context, store uuid.UUID) iter.Seq2[Lease, error] {
	return list[Lease](ctx, c, store, "leases", nil)
}

func (c remote) Spaces(ctx context.Context, store uuid.UUID, after string) ([]Space, error) {
	return whole(list[Space](ctx, c, store, "list", url.Values{"after": {after}}))
}

func (c remote) Segments(ctx context.Context, store uuid.UUID, space, after string) ([]streamhub.Status, error) {
	return whole(list[streamhub.Status](ctx, c, store, "list", url.Values{"space": {space}, "after": {after}}))
}

// whole reads a list to its end.
func whole[T any](list iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (c remote) Workers(ctx context.Context, store uuid.UUID) iter.Seq2[streamhub.Worker, error] {
	return list[streamhub.Worker](ctx, c, store, "workers", nil)
}

func (c remote) Live(ctx context.Context, store uuid.UUID, space string, ended bool) iter.Seq2[live.Listed, error] {
	query := url.Values{"space": {space}}
	if ended {
		query.Set("ended", "1")
	}
	return list[live.Listed](ctx, c, store, "live", query)
}

func (c remote) CancelLive(ctx context.Context, store uuid.UUID, space, id string, generation uint64, reason string) (v streamhub.Verdict, err error) {
	query := url.Values{"space": {space}, "id": {id}, "generation": {strconv.FormatUint(generation, 10)}, "reason": {reason}}
	err = c.value(ctx, http.MethodDelete, store, "live", query, &v)
	return v, err
}

func (c remote) Subscriptions(ctx context.Context, store uuid.UUID) iter.Seq2[durable.Subscription, error] {
	return list[durable.Subscription](ctx, c, store, "subscriptions", nil)
}

func (c remote) Subscription(ctx context.Context, store uuid.UUID, id string) (s durable.Subscription, err error) {
	err = c.value(ctx, http.MethodGet, store, "subscriptions", url.Values{"id": {id}}, &s)
	return s, err
}

func (c remote) RemoveSubscription(ctx context.Context, store uuid.UUID, id string) error {
	return c.value(ctx, http.MethodDelete, store, "subscriptions", url.Values{"id": {id}}, &struct{}{})
}

func (c remote) Purge(ctx context.Context, store uuid.UUID) (p Purged, err error) {
	err = c.value(ctx, http.MethodDelete, store, "store", nil, &p)
	return p, err
}

func (c remote) Instances(ctx context.Context) (all []hub.Instance, err error) {
	err = c.value(ctx, http.MethodGet, uuid.Nil, "instances", nil, &all)
	return all, err
}

func (c remote) Overview(ctx context.Context) (o Overview, err error) {
	err = c.value(ctx, http.MethodGet, uuid.Nil, "overview", nil, &o)
	return o, err
}
