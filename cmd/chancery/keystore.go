//go:build !clientonly && !windows

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/softkey"
	"github.com/chancery-project/chancery/cmd/daemon"
)

func keystoreCommand() *cli.Command {
	return &cli.Command{
		Name: "keystore", Usage: "this node's own key store", Category: "server",
		Subcommands: []*cli.Command{
			{Name: "check", Usage: "load the module, find the token, log in once, list mechanisms, sign a probe", Flags: []cli.Flag{configFlag()}, Action: checkKeyStore},
			{Name: "create-key-file", Usage: "make the file that seals a soft key store; keep it outside data_dir, and a copy elsewhere", ArgsUsage: "FILE",
				Action: func(c *cli.Context) error {
					if c.NArg() != 1 {
						return usagef("usage: chancery keystore create-key-file FILE")
					}
					return softkey.CreateKeyFile(c.Args().First())
				}},
		},
	}
}

func checkKeyStore(c *cli.Context) (err error) {
	conf, err := loadConfig(c)
	if err != nil {
		return err
	}
	ks, err := daemon.OpenKeyStore(c.Context, conf, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ks.Close()) }()
	prober, ok := ks.(hsm.Prober)
	if !ok {
		fmt.Fprintf(c.App.Writer, "driver %s: %s\n", ks.Driver(), "opened")
		return nil
	}
	report, err := prober.Probe(c.Context)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(c.App.Writer)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}
