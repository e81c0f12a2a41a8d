package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func policyCommand() *cli.Command {
	return group("policy", "what a key's owner demands of it",
		looking("get", "NAME", "print the policy", func(s *session) error {
			c, err := s.client()
			if err != nil {
				return err
			}
			p, err := c.Policy(s.ctx, s.arg(0))
			if err != nil {
				return err
			}
			v, err := policyView(p)
			if err != nil {
				return err
			}
			return s.show(v)
		}),
		changing("set", "NAME", "change the policy, the owner, the business reason or the labels", setPolicy, append(rearrangeFlags(),
			&cli.StringFlag{Name: "policy", Usage: "JSON or TOML file with the fields that change"},
			&cli.Uint64Flag{Name: "if-match", Usage: "refuse unless the policy has this version", DefaultText: "the one read just before"},
			&cli.StringFlag{Name: "owner", Usage: "new owner"},
			&cli.StringFlag{Name: "reason", Usage: "new business reason"},
			&cli.StringSliceFlag{Name: "label", Usage: "k=v, may be repeated; replaces all labels"}, whyFlag(),
		)...),
	)
}

func policyView(p *wire.Policy) (view, error) {
	v := view{value: p, names: []string{p.Key}}
	v.pair("key", p.Key)
	v.pair("policy version", number(p.Version))
	v.pair("owner", p.Owner)
	v.pair("business reason", p.BusinessReason)
	v.pair("labels", labelText(p.Labels))
	b, err := json.Marshal(p.Policy)
	if err != nil {
		return v, fmt.Errorf("encode the policy: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		return v, fmt.Errorf("encode the policy: %w", err)
	}
	for _, name := range sortedKeys(fields) {
		v.pair(name, cell(fields[name]))
	}
	return v, nil
}

// cell is a value of a policy or of the settings on one line.
func cell(x any) string {
	switch x := x.(type) {
	case nil:
		return "-"
	case []any:
		var parts []string
		for _, e := range x {
			parts = append(parts, cell(e))
		}
		return orDash(strings.Join(parts, ", "))
	case map[string]any: // an approval rule, or a webhook
		if x["url"] != nil {
			return fmt.Sprintf("%v is told of %s at %v", x["name"], cell(x["kinds"]), x["url"])
		}
		return fmt.Sprintf("%v needs %v of %s", x["verb"], x["needs"], cell(x["approvers"]))
	case string:
		return orDash(x)
	}
	return fmt.Sprint(x)
}

func setPolicy(s *session) error {
	changes, err := readPolicy(s.String("policy"))
	if err != nil {
		return err
	}
	set := wire.SetPolicy{Comment: s.String("comment"), Owner: s.String("owner"), BusinessReason: s.String("reason")}
	if set.Labels, err = labels(s.StringSlice("label")); err != nil {
		return err
	}
	if changes == nil && set.Owner == "" && set.BusinessReason == "" && len(set.Labels) == 0 {
		return usagef("nothing to change: give --policy FILE, --owner, --reason or --label")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	now, err := c.Policy(s.ctx, s.arg(0), client.Consistency(wire.Linearizable))
	if err != nil {
		return err
	}
	if set.Policy, err = wire.MergePolicy(now.Policy, changes); err != nil {
		return usagef("--policy: %v", err)
	}
	version := now.Version
	if s.IsSet("if-match") {
		version = s.Uint64("if-match")
	}
	return s.rearrange(func(c *client.Client, o ...client.Option) (*wire.Operation, error) {
		return c.SetPolicy(s.ctx, s.arg(0), set, append(o, client.IfMatch(version))...)
	})
}

// readPolicy reads a policy file as JSON; one whose name does not end in .json and
// that does not begin with { is TOML. It is checked against the fields of a policy
// here already, so that a mistake is told with the file.
func readPolicy(file string) (json.RawMessage, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) && !strings.HasSuffix(file, ".json") {
		var fields map[string]any
		if err := toml.Unmarshal(b, &fields); err != nil {
			return nil, usagef("policy %s: %v", file, err)
		}
		if b, err = json.Marshal(fields); err != nil {
			return nil, usagef("policy %s: %v", file, err)
		}
	}
	if _, err := wire.MergePolicy(lifecycle.Policy{}, b); err != nil {
		return nil, usagef("policy %s: %v", file, err)
	}
	return b, nil
}
