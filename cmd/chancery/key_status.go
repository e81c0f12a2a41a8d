package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func publicFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "public", Usage: "public listener of a node, or several [$CHANCERY_PUBLIC]", DefaultText: "the members are asked for theirs"}
}

func keyStatusCommand() *cli.Command {
	return looking("status", "[NAME]", "whether a key may be relied on now: a signed answer, verified", keyStatus,
		&cli.StringFlag{Name: "kid", Usage: "of this one public key, whole, instead of a key"},
		&cli.DurationFlag{Name: "max-age", Usage: "the oldest state that may call it good", DefaultText: "5s"},
		publicFlag(),
	)
}

func keyStatus(s *session) error {
	kid := s.String("kid")
	if (kid == "") == (s.arg(0) == "") {
		return usagef("chancery key status takes a NAME or --kid KID")
	}
	if s.profile.CA == "" {
		return usagef("a status is verified with the cluster's CA bundle: name it with --ca or CHANCERY_CA")
	}
	var opts []client.Option
	if s.IsSet("max-age") {
		opts = append(opts, client.Consistency(wire.BoundedBy(s.Duration("max-age"))))
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	var answer *client.Status
	if kid != "" {
		answer, err = c.KIDStatus(s.ctx, kid, opts...)
	} else {
		answer, err = c.KeyStatus(s.ctx, s.arg(0), opts...)
	}
	if err != nil {
		return unverified(err)
	}
	if err := s.show(statusView(answer, firstOf(s.arg(0), kid))); err != nil || answer.Good() {
		return err
	}
	return failedf("not good: %s", answer.Status)
}

// unverified makes a failed check of what cannot be believed. A node that cannot be
// reached, or a cluster that was restored, is something else.
func unverified(err error) error {
	for _, bad := range []error{client.ErrForged, client.ErrExpired, client.ErrOtherQuestion, client.ErrUnsigned} {
		if errors.Is(err, bad) {
			return failedf("no answer can be believed, so nothing is known about the key: %v", err)
		}
	}
	return err
}

// verifiedStatus is the JSON form: the signed claims, the proof, and that the proof
// was checked here.
type verifiedStatus struct {
	*client.Status
	Verified bool `json:"verified"`
}

func statusView(a *client.Status, name string) view {
	v := view{value: verifiedStatus{a, true}, names: []string{name}}
	v.pair("status", a.Status)
	v.pair("subject", a.Subject)
	v.pair("reason", string(a.Reason))
	if a.CompromisedSince != 0 {
		v.pair("compromised since", when(a.CompromisedSince))
	}
	v.pair("active version", number(a.ActiveVersion))
	for _, ver := range a.Versions {
		kids := make([]string, len(ver.KIDs))
		for i, kid := range ver.KIDs {
			kids[i] = short(kid)
		}
		v.pair(fmt.Sprintf("version %d", ver.Version), strings.TrimSpace(ver.Status+" "+strings.Join(kids, " ")))
	}
	v.pair("signature", fmt.Sprintf("verified, by %s of cluster %s", a.Node, a.Cluster))
	v.pair("as of", fmt.Sprintf("%s (%s), entry %d of epoch %d", orDash(a.AsOf.String()), a.Freshness, a.Position.Index, a.Position.Epoch))
	v.pair("expires", a.ExpiresAt.String())
	return v
}
