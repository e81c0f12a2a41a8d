//go:build !clientonly && !windows

package main

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/cmd/daemon"
)

func sealCommand() *cli.Command {
	return looking("seal", "", "stop this machine's node from signing, at once and without a quorum, until chancery unseal", sealLocal,
		&cli.BoolFlag{Name: "local", Usage: "the node on this machine, over its root-only socket; the only way there is"},
		&cli.StringFlag{Name: "key", Usage: "only this key", DefaultText: "every key"},
		&cli.StringFlag{Name: "reason", Usage: "kept in the log once the cluster hears of it"},
		configFlag(),
		&cli.StringFlag{Name: "socket", Usage: "admin.sock of the node", DefaultText: "in the data_dir of --config"})
}

func sealLocal(s *session) error {
	switch {
	case !s.Bool("local"):
		return usagef("chancery seal needs --local: it works on this machine's node alone. With a leader: chancery key revoke, key suspend or node quarantine")
	case s.String("reason") == "":
		return usagef("chancery seal needs --reason: whoever wonders why nothing is signed will read it")
	}
	socket := s.String("socket")
	if socket == "" {
		conf, err := loadConfig(s.Context)
		if err != nil {
			return err
		}
		socket = daemon.AdminSocket(conf)
	}
	socket, err := filepath.Abs(socket)
	if err != nil {
		return fmt.Errorf("find the socket: %w", err)
	}
	a, err := daemon.SealLocally(s.ctx, socket, daemon.SealRequest{Key: s.String("key"), Reason: s.String("reason")})
	if err != nil {
		return err
	}
	v := view{value: a, names: []string{a.ID}}
	v.pair("sealed", orDash(a.Node))
	v.pair("key", orWhole(a.Key))
	v.pair("seal", a.ID)
	v.pair("since", when(a.At))
	v.pair("by", a.By)
	v.pair("reason", a.Reason)
	v.pair("survives a restart", yesNo(a.Kept))
	if err := s.show(v); err != nil {
		return err
	}
	if !a.Kept {
		return &coded{fmt.Errorf("%s signs no more, until it is restarted: %s", a.Node, a.Why), exitUnavailable}
	}
	s.notef("%s signs no more. The cluster is told as soon as there is a leader. To end it: chancery unseal %s --id %s --reason TEXT", a.Node, a.Node, a.ID)
	return nil
}

func orWhole(key string) string {
	if key == "" {
		return "every key"
	}
	return key
}
