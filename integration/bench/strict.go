//go:build linux && cgo

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
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
// record, and in batches, which need one record each. The callers ask the leader;
// before that they are in its process, see strictInside.
func (b *bench) strict() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	if err := c.strictKeys(b.ctx); err != nil {
		return err
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
	if err := b.strictInside(bare); err != nil {
		return err
	}
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

// strictInside measures the log's part of a strict signature alone, where signatures
// are gathered into entries, and whole signatures without what the API costs: the
// callers are in the leader's own process, and its keys in software. A whole one waits
// for two disks, one after the other: the intent in the audit journal, then the log.
func (b *bench) strictInside(bare *bareGroup) error {
	c, err := b.startCluster("strict-cluster", "soft")
	if err != nil {
		return err
	}
	return errors.Join(b.insideRates(c, bare), c.stop())
}

func (b *bench) insideRates(c *cluster, bare *bareGroup) error {
	if err := c.strictKeys(b.ctx); err != nil {
		return err
	}
	lead, err := c.leader(b.ctx)
	if err != nil {
		return err
	}
	for _, callers := range notaries {
		inside := func(work, key string) func() (float64, error) {
			return func() (float64, error) { return c.inside(lead, work, key, callers, b.each) }
		}
		ways := []struct {
			name  string
			rate  func() (float64, error)
			rates []float64
		}{
			{name: "raw raft", rate: func() (float64, error) { return bare.rate(callers, b.each) }},
			{name: "records", rate: inside("record", "strict")},
			{name: "strict", rate: inside("sign", "strict")},
			{name: "loose", rate: inside("sign", "loose")},
		}
		for round := range b.rounds + 1 {
			for i := range ways {
				rate, err := ways[i].rate()
				if err != nil {
					return fmt.Errorf("measure %s: %w", ways[i].name, err)
				}
				if round > 0 { // the first one warms up
					ways[i].rates = append(ways[i].rates, rate)
				}
				b.say("        inside, %3d callers, %-10s %8.1f", callers, ways[i].name, rate)
			}
		}
		raw, records, strict, loose := median(ways[0].rates), median(ways[1].rates), median(ways[2].rates), median(ways[3].rates)
		b.table.atLeast(fmt.Sprintf("strict records, %d callers in the leader: rate / raw raft", callers), records/raw, strictBound, "x", fmt.Sprintf("%.0f/s against %.0f/s", records, raw))
		b.table.atLeast(fmt.Sprintf("strict signatures, %d callers in the leader: rate / raw raft", callers), strict/raw, strictBound, "x",
			fmt.Sprintf("%.0f/s against %.0f/s; %.0f/s when not strict", strict, raw, loose))
	}
	return nil
}

// strictKeys makes a strict key and one that is not.
func (c *cluster) strictKeys(ctx context.Context) error {
	for name, policy := range map[string]string{"strict": `{"strict":true,"verify_one_in":1000}`, "loose": `{"verify_one_in":1000}`} {
		if err := c.key(ctx, name, policy); err != nil {
			return err
		}
	}
	return nil
}
