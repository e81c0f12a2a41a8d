//go:build linux && cgo

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chancery-project/chancery/transport/wire"
)

// notaries are the numbers of callers whose strict signatures are measured.
var notaries = []int{16, 128}

const strictBound = 0.7

// strict measures signatures that are written into the log before they are released,
// against bare raft entries of as many callers: one by one, each waiting for its
// record, and in batches, which need one record each. The callers ask the leader.
func (b *bench) strict() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	for name, policy := range map[string]string{"strict": `{"strict":true,"verify_one_in":1000}`, "loose": `{"verify_one_in":1000}`} {
		if err := c.key(b.ctx, name, policy); err != nil {
			return err
		}
	}
	lead, err := c.leader(b.ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "strict") // the yardstick of plain writes has its own
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	bare, err := startBareGroup(dir)
	if err != nil {
		return err
	}
	defer bare.stop()
	digest := sha256.Sum256([]byte("bench"))
	one := fmt.Sprintf(`{"digest":%q,"hash":"SHA-256"}`, base64.StdEncoding.EncodeToString(digest[:]))
	many := `{"items":[` + strings.TrimSuffix(strings.Repeat(one+",", batchSize), ",") + `]}`
	api := c.api(lead)
	ask := func(key, body string) func(int, int) []byte {
		request := api.request("POST", wire.Path(wire.PathSign, key), body)
		return func(int, int) []byte { return request }
	}
	for _, callers := range notaries {
		raw := []float64{}
		sides := []*side{
			{name: fmt.Sprintf("strict-%d", callers), target: api, callers: callers, request: ask("strict", one), node: lead},
			{name: fmt.Sprintf("loose-%d", callers), target: api, callers: callers, request: ask("loose", one), node: lead},
			{name: fmt.Sprintf("strict-batch-%d", callers), target: api, callers: min(callers, batchers), request: ask("strict", many), node: lead},
		}
		if err := b.alternate(sides, b.rateAndCPU, func() error {
			rate, err := bare.rate(callers, b.each)
			raw = append(raw, rate)
			b.say("        raw raft %14.1f", rate)
			return err
		}); err != nil {
			return err
		}
		entries := median(raw)
		single, loose, batched := median(sides[0].results), median(sides[1].results), median(sides[2].results)*batchSize
		b.table.atLeast(fmt.Sprintf("strict signatures, %d callers, one by one: rate / raw raft", callers), single/entries, strictBound, "x",
			fmt.Sprintf("%.0f/s against %.0f/s; %.0f/s when not strict", single, entries, loose))
		b.table.atLeast(fmt.Sprintf("strict signatures, %d callers, batches of %d: rate / raw raft", min(callers, batchers), batchSize), batched/entries, strictBound, "x",
			fmt.Sprintf("%.0f/s against %.0f/s", batched, entries))
	}
	return nil
}
