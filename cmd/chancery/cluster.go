package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func clusterCommand() *cli.Command {
	return group("cluster", "what must agree on every node",
		looking("show", "", "show the cluster and its settings", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			cl, err := c.Cluster(s.ctx)
			if err != nil {
				return err
			}
			v, err := clusterView(cl)
			if err != nil {
				return err
			}
			return s.show(v)
		}),
		looking("ca", "", "write the CA bundle: what --ca wants, also after nodes have joined", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			cl, err := c.Cluster(s.ctx)
			if err != nil {
				return err
			}
			return s.write(s.String("out"), []byte(cl.CABundle), 0o644)
		}, &cli.StringFlag{Name: "out", Usage: "`FILE`; - is stdout", Value: "-"}),
		changing("set", "[NAME=VALUE] ...", "change settings: chancery cluster set max_token_ttl=90d", setCluster, append(rearrangeFlags(),
			&cli.StringFlag{Name: "file", Usage: "JSON `FILE` with settings that change, such as approvals and break_glass"},
			&cli.Uint64Flag{Name: "if-match", Usage: "refuse unless the settings have this revision", DefaultText: "the one read just before"}, whyFlag())...),
		changing("rotate-gossip-key", "", "have the leader draw a new gossip key; the members fetch it and go over to it by themselves", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			op, err := c.RotateGossipKey(s.ctx, s.changes()...)
			return s.finish(op, err, "")
		}),
		refusing("rotate-ca", "", "the cluster's CA is one CA instance on each node, good for ten years and made when the node joins, and no entry of the log replaces one of them; this version cannot do that yet",
			"replace the nodes one by one, each with a new data directory: chancery node remove, then join; a removed node's CA leaves the bundle, which chancery cluster ca writes anew for the clients"),
	)
}

func clusterView(cl *wire.Cluster) (view, error) {
	v := view{value: cl, names: []string{cl.Name}}
	v.pair("cluster", cl.Name)
	v.pair("id", cl.ID)
	v.pair("epoch", number(cl.Epoch))
	v.pair("format", number(cl.Format))
	v.pair("created", when(cl.Created.At))
	if k := cl.Gossip; k != nil {
		v.pair("gossip key", fmt.Sprintf("generation %d, drawn %s by %s", k.Generation, when(k.Rotated.At), k.Rotated.By))
	}
	fields, err := settingFields(cl.Settings)
	if err != nil {
		return v, err
	}
	lease, age := cl.Settings.SigningTerms()
	fields["lease"], fields["request_age"] = lease.String(), age.String()
	for _, name := range sortedKeys(fields) {
		v.pair(name, cell(fields[name]))
	}
	return v, nil
}

func settingFields(set lifecycle.Settings) (map[string]any, error) {
	b, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the settings: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, fmt.Errorf("encode the settings: %w", err)
	}
	return fields, nil
}

// termSettings are left out of the answer while they have their defaults.
var termSettings = []string{"lease", "request_age"}

func settingNames(fields map[string]any) []string {
	names := append(sortedKeys(fields), termSettings...)
	slices.Sort(names)
	return slices.Compact(names)
}

func setCluster(s *session) error {
	changes, err := readSettings(s)
	if err != nil {
		return err
	}
	if len(changes) == 0 && s.Args().Len() == 0 {
		return usagef("chancery cluster set needs NAME=VALUE, or --file with settings")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	// The revision is that of the row, which the cluster moves by itself too: when it has
	// seen the old lease out, for one. What is named here goes on top of any of them.
	for try := 1; ; try++ {
		err := s.setOver(c, changes)
		if wire.CodeOf(err) != wire.PreconditionFailed || s.IsSet("if-match") || try == maxSetTries {
			return err
		}
	}
}

const maxSetTries = 5

// setOver puts changes, and those of the command line, on top of the settings as they are.
func (s *session) setOver(c *client.Client, changes map[string]any) error {
	now, err := c.Cluster(s.ctx, client.Consistency(wire.Linearizable))
	if err != nil {
		return err
	}
	fields, err := settingFields(now.Settings)
	if err != nil {
		return err
	}
	maps.Copy(fields, changes)
	for _, a := range s.Args().Slice() {
		name, value, found := strings.Cut(a, "=")
		old, known := fields[name]
		known = known || slices.Contains(termSettings, name)
		if !found || !known {
			return usagef("%q: write it like max_token_ttl=90d; the settings are %s", a, strings.Join(settingNames(fields), ", "))
		}
		fields[name] = value
		if _, is := old.(bool); is {
			if fields[name], err = strconv.ParseBool(value); err != nil {
				return usagef("%s is true or false, not %q", name, value)
			}
		}
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("encode the settings: %w", err)
	}
	set := wire.SetCluster{Comment: s.String("comment")}
	if err := json.Unmarshal(b, &set.Settings); err != nil {
		return usagef("%v", err)
	}
	revision := now.Revision
	if s.IsSet("if-match") {
		revision = s.Uint64("if-match")
	}
	return s.rearrange(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.SetCluster(s.ctx, set, append(o, client.IfMatch(revision))...)
	})
}

// readSettings reads the settings of --file, and refuses names that there are not.
func readSettings(s *session) (map[string]any, error) {
	file := s.String("file")
	if file == "" {
		return nil, nil
	}
	b, err := s.read(file, maxSettingsFile)
	if err != nil {
		return nil, err
	}
	strict := json.NewDecoder(bytes.NewReader(b))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(lifecycle.Settings)); err != nil {
		return nil, usagef("settings %s: %v", file, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, usagef("settings %s: %v", file, err)
	}
	return fields, nil
}

// maxSettingsFile is far above what settings can hold.
const maxSettingsFile = 1 << 20
