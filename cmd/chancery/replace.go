package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// replaceLevels are the levels that an emergency reaches.
var replaceLevels = append(fenceLevels[:len(fenceLevels):len(fenceLevels)], wire.Published, wire.Activated, wire.AllConfirmed)

func replaceCommand() *cli.Command {
	return changing("replace", "NAME", "in an emergency: revoke and re-issue in one act", replaceKey,
		&cli.BoolFlag{Name: "emergency", Usage: "wait for nothing: neither the lead nor those who verify nor nodes that are away"},
		&cli.Uint64SliceFlag{Name: "version", Usage: "only these versions", DefaultText: "all"},
		&cli.StringFlag{Name: "reason", Usage: fmt.Sprint(lifecycle.Reasons)},
		&cli.StringFlag{Name: "compromised-since", Usage: "RFC 3339 time, with a compromise reason"},
		&cli.BoolFlag{Name: "distrust", Usage: "out of the trust set at once, whatever the reason"},
		&cli.StringFlag{Name: "wait", Usage: "committed; fenced: no node signs with the old versions any more; settled; published; active: the new one signs; confirmed: by every required consumer", DefaultText: "fenced and active"},
		commentFlag(),
	)
}

func replaceKey(s *session) error {
	if !s.Bool("emergency") {
		return usagef("key replace ends what the key has signed and waits for nobody: say so with --emergency. A planned exchange is chancery key rotate %s", s.arg(0))
	}
	reason, err := lifecycle.ParseReason(s.String("reason"))
	if err != nil {
		return usagef("--reason: %v", err)
	}
	r := wire.Replace{Emergency: true, Versions: s.Uint64Slice("version"), Reason: reason, Comment: s.String("comment"), Distrust: s.Bool("distrust")}
	if since := s.String("compromised-since"); since != "" {
		if r.CompromisedSince, err = wire.ParseTime(since); err != nil {
			return usagef("--compromised-since: %v", err)
		}
	}
	levels := []string{wire.Fenced, wire.Activated}
	if level := s.String("wait"); level != "" {
		if err := checkLevel(level, replaceLevels...); err != nil {
			return err
		}
		levels = []string{level}
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	op, err := c.Replace(s.ctx, s.arg(0), r, append(s.waits(levels[0]), client.Patience(leaderPatience))...)
	return s.finish(op, err, levels...)
}

// newPairText is how far a node is with its key pair of the new version.
func newPairText(i *wire.NodeInstance) string {
	switch {
	case i.MaySign:
		return fmt.Sprintf("signs with %s after %d ms", short(string(i.KID)), i.MS)
	case i.At != 0:
		return fmt.Sprintf("its new key %s is published, and does not sign yet", short(string(i.KID)))
	case i.Why != "":
		return fmt.Sprintf("its new key pair is %s: %s", i.Condition, i.Why)
	}
	return fmt.Sprintf("its new key pair is %s", i.Condition)
}

// radiusPairs shows who and what a plan would touch.
func radiusPairs(v *view, op *wire.Operation) {
	b := op.BlastRadius
	if b == nil {
		return
	}
	for _, c := range b.Consumers {
		v.pair("consumer", consumerText(&c))
	}
	if len(b.Consumers) == 0 {
		v.pair("consumers", "none is registered")
	}
	v.pair("certificates", fmt.Sprint(b.Certificates))
	v.pair("signatures", fmt.Sprint(b.SignaturesSince))
	for _, u := range b.Unknown {
		v.pair("not known", u)
	}
}

func consumerText(c *wire.Dependent) string {
	text := fmt.Sprintf("%s (%s) of %s", c.Name, c.Class, strings.TrimSpace(c.Owner+" "+c.Contact))
	if c.LastSeenAt != 0 {
		return text + ", last seen " + when(c.LastSeenAt)
	}
	return text + ", never seen"
}
