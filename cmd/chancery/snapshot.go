package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/transport/wire"
)

func snapshotCommand() *cli.Command {
	return group("snapshot", "copies of the replicated state, without any private key",
		looking("save", "FILE", "store a snapshot in a new file and check it", saveSnapshot),
		looking("inspect", "FILE", "check a snapshot and say what is in it", func(s *session) error {
			return inspectSnapshot(s, s.arg(0))
		}),
	)
}

func saveSnapshot(s *session) error {
	if s.arg(0) == "-" {
		return usagef("chancery snapshot save needs a FILE: it is read again and checked")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	r, err := c.Snapshot(s.ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	name := s.arg(0)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secretMode)
	if err != nil {
		return fmt.Errorf("store the snapshot: %w", err)
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store the snapshot: %w; what is in %s is not whole", err, name)
	}
	return inspectSnapshot(s, name)
}

func inspectSnapshot(s *session, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open the snapshot: %w", err)
	}
	defer f.Close()
	info, err := snapshot.Inspect(f)
	if err != nil {
		return failedf("%s is no whole snapshot: %v", name, err)
	}
	return s.show(snapshotView(name, info))
}

func restoreCommand() *cli.Command {
	return refusing("restore", "[FILE]", "a snapshot put back as it was would make revocations vanish, so a restore must raise the epoch, suspend every key and "+
		"take in every revocation known elsewhere; this version cannot do that yet", hintMajority)
}

func recoverCommand() *cli.Command {
	return refusing("recover", "", "going on without a majority of the voters gives up what they alone knew, so a recovery must raise the epoch "+
		"and suspend every key; this version cannot do that yet", hintMajority)
}

const hintMajority = "bring a majority of the voters back; a lost node is replaced with chancery node rebuild or node remove --lost"

// refusing is a command that this version does not have: it says why, and what to do
// instead.
func refusing(name, args, reason, hint string) *cli.Command {
	return looking(name, args, "(comes in a later version)", func(*session) error {
		return wire.Errorf(wire.NotAvailable, "%s is refused: %s", name, reason).
			WithHint("%s", hint)
	})
}

// contents is what inspect says, as JSON.
type contents struct {
	File     string        `json:"file"`
	Cluster  string        `json:"cluster_id"`
	Format   uint64        `json:"format"`
	ClockAt  wire.Time     `json:"clock_at"`
	Digest   []byte        `json:"state_digest"`
	Tables   []tableCount  `json:"tables"`
	Keys     []string      `json:"keys"`
	Position wire.Position `json:"position"`
}

type tableCount struct {
	Table     string `json:"table"`
	Rows      uint64 `json:"rows"`
	SizeBytes int64  `json:"size_bytes"`
}

func snapshotView(name string, info snapshot.Info) view {
	h := info.Header
	c := contents{File: name, Cluster: h.ClusterID, Format: h.Format, ClockAt: wire.Time(h.Clock), Digest: h.Digest[:], Tables: []tableCount{}, Keys: []string{},
		Position: wire.Position{Epoch: h.Epoch, Index: h.Index, LogSize: h.LogSize, LogRoot: h.LogRoot[:]}}
	v := view{names: []string{name}}
	v.pair("snapshot", name)
	v.pair("check", "ok")
	v.pair("cluster", c.Cluster)
	v.pair("epoch", fmt.Sprint(h.Epoch))
	v.pair("entry", fmt.Sprint(h.Index))
	v.pair("log size", fmt.Sprint(h.LogSize))
	v.pair("log root", base64.StdEncoding.EncodeToString(h.LogRoot[:]))
	v.pair("state digest", hex.EncodeToString(h.Digest[:]))
	v.pair("clock", when(c.ClockAt))
	for _, t := range info.Tables {
		c.Tables = append(c.Tables, tableCount{string(t.Table), t.Rows, t.SizeBytes})
		v.pair("table "+string(t.Table), fmt.Sprintf("%d rows, %d bytes", t.Rows, t.SizeBytes))
	}
	for _, k := range info.Keys {
		c.Keys = append(c.Keys, string(k.ID))
	}
	v.value = c
	return v
}
