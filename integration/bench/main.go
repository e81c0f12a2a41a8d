//go:build linux && cgo

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	rounds       int
	each         time.Duration
	kills        int
	entries      int
	certificates int
	revoked      int
	profile      string // directory for CPU profiles of the servers, "" = none
	verbose      bool
}

// roles are what a child process of this program can be.
var roles = map[string]func([]string) error{
	"server": serveNode, "bare-sign": bareSign, "raw-sign": rawSign, "bare-read": bareRead, "bare-raft": bareRaft,
	"pki-state": pkiStateChild,
}

func main() {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			exit(role(os.Args[2:]))
		}
	}
	exit(run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run() error {
	var o options
	only := flag.String("only", "reports,gate,driver,sign,read,write,strict,fence,emergency,issue,ocsp,revoke,pkistate,fail", "which groups to measure")
	dir := flag.String("dir", "", "where the nodes live: the disk to measure; a temporary directory if empty")
	flag.IntVar(&o.rounds, "rounds", 9, "rounds of each measurement")
	flag.DurationVar(&o.each, "each", 500*time.Millisecond, "length of a round")
	flag.IntVar(&o.kills, "kills", 7, "leaders to kill")
	flag.IntVar(&o.entries, "entries", 100_000, "log entries of the node that restarts")
	flag.IntVar(&o.certificates, "certificates", 1_000_000, "certificates in the state of one node")
	flag.IntVar(&o.revoked, "revoked", 100_000, "certificates that are revoked before revoking is measured again")
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of the servers into this directory")
	flag.BoolVar(&o.verbose, "v", false, "say what every round gave")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *dir == "" {
		temp, err := os.MkdirTemp("", "chancery-bench-")
		if err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer os.RemoveAll(temp)
		*dir = temp
	}
	t := &table{}
	t.header()
	b := &bench{options: o, ctx: ctx, dir: *dir, table: t}
	groups := strings.Split(*only, ",")
	for _, g := range []struct {
		name string
		run  func() error
	}{{"reports", b.reports}, {"gate", b.gate}, {"driver", b.driver}, {"sign", b.sign}, {"read", b.read}, {"write", b.write}, {"strict", b.strict}, {"fence", b.fence}, {"emergency", b.emergency}, {"issue", b.issue}, {"ocsp", b.ocsp}, {"revoke", b.revoke}, {"pkistate", b.pkiState}, {"fail", b.fail}} {
		if slices.Contains(groups, g.name) {
			if err := g.run(); err != nil {
				return fmt.Errorf("measure %s: %w", g.name, err)
			}
		}
	}
	return b.end()
}

// bench is one run.
type bench struct {
	options
	ctx     context.Context
	dir     string
	table   *table
	cluster *cluster
	town    *town
}

func (b *bench) end() (err error) {
	if b.cluster != nil {
		err = b.cluster.stop()
	}
	if b.town != nil {
		err = errors.Join(err, b.town.stop())
	}
	return err
}

func (b *bench) say(format string, args ...any) {
	if b.verbose {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}
