package client

import (
	"context"
	"net/http"

	"github.com/chancery-project/chancery/transport/wire"
)

// RegisterConsumer registers a verifier. Its enrolment token is in the answer and
// nowhere else.
func (c *Client) RegisterConsumer(ctx context.Context, r wire.RegisterConsumer, opts ...Option) (*wire.ConsumerRegistration, error) {
	return c.registration(ctx, http.MethodPost, wire.PathConsumers, r, opts)
}

// ChangeConsumer replaces what is registered of a verifier and needs IfMatch; with
// Enrol it makes another enrolment token.
func (c *Client) ChangeConsumer(ctx context.Context, name string, r wire.RegisterConsumer, opts ...Option) (*wire.ConsumerRegistration, error) {
	return c.registration(ctx, http.MethodPut, wire.Path(wire.PathConsumer, name), r, opts)
}

func (c *Client) registration(ctx context.Context, method, path string, r wire.RegisterConsumer, opts []Option) (*wire.ConsumerRegistration, error) {
	out := new(wire.ConsumerRegistration)
	if err := c.mutate(ctx, method, path, r, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// Consumers lists verifiers, and who fetches keys without being registered. Filter:
// wire.QueryKey.
func (c *Client) Consumers(ctx context.Context, opts ...Option) (*wire.ConsumerList, error) {
	return one[wire.ConsumerList](ctx, c, wire.PathConsumers, opts)
}

// Consumer by name, with what its instances have confirmed.
func (c *Client) Consumer(ctx context.Context, name string, opts ...Option) (*wire.ConsumerView, error) {
	return one[wire.ConsumerView](ctx, c, wire.Path(wire.PathConsumer, name), opts)
}

// RetireConsumer ends a verifier: nothing waits for it any more.
func (c *Client) RetireConsumer(ctx context.Context, name string, r wire.RetireConsumer, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRetireConsumer, name, r, opts)
}

// WaiveConsumer lets one gate of one version pass without a verifier.
func (c *Client) WaiveConsumer(ctx context.Context, name string, w wire.WaiveConsumer, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathWaiveConsumer, name, w, opts)
}

// EnrolConsumer trades an enrolment token for a bearer token. It needs no credential.
func (c *Client) EnrolConsumer(ctx context.Context, name string, e wire.Enrol, opts ...Option) (*wire.Enrolled, error) {
	out := new(wire.Enrolled)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(wire.PathEnrolConsumer, name), e, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// CanaryChallenge asks for signatures to prove one's public keys with. Most callers
// want Consumer.Confirm.
func (c *Client) CanaryChallenge(ctx context.Context, consumer, key, instance string, opts ...Option) (*wire.CanaryChallenge, error) {
	return one[wire.CanaryChallenge](ctx, c, wire.Path(wire.PathCanaryChallenge, consumer), append(opts, Query(wire.QueryKey, key), Query(wire.QueryInstance, instance)))
}

// ConfirmTrustSet says what an instance has loaded. Most callers want Consumer.Confirm.
func (c *Client) ConfirmTrustSet(ctx context.Context, consumer string, s wire.ConfirmTrustSet, opts ...Option) (*wire.Confirmed, error) {
	out := new(wire.Confirmed)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(wire.PathConfirmations, consumer), s, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}
