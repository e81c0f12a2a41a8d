//go:build linux && cgo

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/chancery-project/chancery/transport/wire"
)

const readers = 32

// read measures a follower against a handler that sends the same answer, header lines
// included, and has nothing to decide.
func (b *bench) read() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	if err := c.key(b.ctx, "read", ""); err != nil {
		return err
	}
	lead, err := c.leader(b.ctx)
	if err != nil {
		return err
	}
	follower := lead%nodes + 1
	for _, r := range []struct {
		what, path string
		target     *target
	}{
		{"key status", wire.Path(wire.PathKeyStatus, "read"), c.public(follower)},
		{"key JWKS", wire.Path(wire.PathKeyJWKS, "read"), c.public(follower)},
		{"key show, TLS and token", wire.Path(wire.PathKey, "read"), c.api(follower)},
	} {
		if err := b.readOne(r.what, r.path, r.target, follower); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return nil
}

func (b *bench) readOne(what, path string, t *target, node int) error {
	one, err := t.dial()
	if err != nil {
		return err
	}
	request := t.request("GET", path, "")
	one.keepHead = true
	err = one.do(request)
	_ = one.conn.Close() // nothing is in flight
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "answer")
	if err := os.WriteFile(file, append(one.head, one.body...), 0o600); err != nil {
		return fmt.Errorf("keep the answer: %w", err)
	}
	args := []string{"bare-read", file}
	bareTarget := &target{}
	if t.tls != nil {
		args, bareTarget.tls = append(args, "tls"), insecure
	}
	bare, err := startChild(nil, args...)
	if err != nil {
		return err
	}
	defer bare.stop() //nolint:errcheck // it has said all it had to say
	bareTarget.address, bareTarget.header = bare.ready, t.header
	bareRequest := bareTarget.request("GET", path, "")
	sides := []*side{
		{name: "bare", target: bareTarget, callers: readers, request: func(int, int) []byte { return bareRequest }},
		{name: what, target: t, callers: readers, request: func(int, int) []byte { return request }, node: node},
	}
	if err := b.alternate(sides, rateOf, nil); err != nil {
		return err
	}
	ours, theirs := median(sides[1].results), median(sides[0].results)
	b.table.atLeast(fmt.Sprintf("%s on a follower: rate / bare handler", what), ours/theirs, 0.8, "x", fmt.Sprintf("%.0f/s against %.0f/s; same headers, body of %d bytes", ours, theirs, len(one.body)))
	return nil
}
