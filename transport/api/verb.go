package api

import (
	"context"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/transport/wire"
)

type versionVerb func(context.Context, authority.Request, authority.VersionSpec) (authority.Result, error)

// versionVerb carries out a verb about one version.
func (c *call) versionVerb(verb string, kind command.Kind, in *wire.VersionVerb, do versionVerb) (any, error) {
	if in.Early && kind != command.KindActivateVersion {
		return nil, wire.Errorf(wire.Invalid, "early is for activate only")
	}
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := do(c.r.Context(), req, authority.VersionSpec{Key: c.name(), Version: in.Version, Comment: in.Comment, Early: in.Early})
	return c.operation(asked{verb: verb, kind: kind, key: c.name(), comment: in.Comment}, r, err)
}

func (c *call) destroyVersion(in *wire.Destroy) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	spec := authority.DestroySpec{VersionSpec: authority.VersionSpec{Key: c.name(), Version: in.Version, Comment: in.Comment}, Cancel: in.Cancel}
	a := asked{verb: "destroy", kind: command.KindScheduleDestroy, key: c.name(), comment: in.Comment}
	if in.Cancel {
		a.verb, a.final = "destroy cancel", true
	}
	r, err := c.Service.DestroyVersion(c.r.Context(), req, spec)
	return c.operation(a, r, err)
}

func (c *call) revokeKey(in *wire.Revoke) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	spec := authority.RevokeSpec{Key: c.name(), Versions: in.Versions, Instance: in.KID, Node: in.Node, Reason: string(in.Reason),
		CompromisedSince: in.CompromisedSince.Instant(), Comment: in.Comment, Distrust: in.Distrust}
	r, err := c.Service.Revoke(c.r.Context(), req, spec)
	return c.operation(asked{verb: "revoke", kind: command.KindRevoke, key: c.name(), reason: in.Reason, since: in.CompromisedSince, comment: in.Comment}, r, err)
}
