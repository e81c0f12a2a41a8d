package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func (c *call) name() string { return c.r.PathValue("name") }

// key finds the key of the path, for callers who may read it.
func (c *call) key() (*lifecycle.Key, error) {
	id := lifecycle.KeyID(c.name())
	if err := lifecycle.CheckName("key", string(id)); err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	if err := c.may(access.KeyRead, id); err != nil {
		return nil, err
	}
	k := c.snap.Key(id)
	if k == nil {
		return nil, wire.Errorf(wire.KeyNotFound, "there is no key %q", string(id)).WithHint("chancery key list")
	}
	return k, nil
}

func (c *call) createKey(in *wire.CreateKey) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	spec := authority.KeySpec{Name: in.Name, Purpose: string(in.Purpose), Alg: string(in.Alg), Bits: in.Bits, Custody: string(in.Custody), Node: in.Node,
		Owner: in.Owner, Reason: in.BusinessReason, Labels: labelList(in.Labels)}
	if len(in.Policy) > 0 {
		purpose, err := lifecycle.ParsePurpose(string(in.Purpose))
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "%v", err)
		}
		alg := in.Alg
		if alg == "" {
			alg = lifecycle.ES256
		}
		p, err := wire.MergePolicy(lifecycle.DefaultPolicy(purpose, alg), in.Policy)
		if err != nil {
			return nil, err
		}
		spec.Policy = &p
	}
	r, err := c.Service.CreateKey(c.r.Context(), req, spec)
	a := asked{verb: "create", kind: command.KindCreateKey, key: spec.Name}
	if lifecycle.Custody(in.Custody) == lifecycle.Singleton {
		a.holder = in.Node
	}
	return c.operation(a, r, err)
}

func labelList(m map[string]string) []lifecycle.Label {
	var out []lifecycle.Label
	for name, value := range m {
		out = append(out, lifecycle.Label{Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b lifecycle.Label) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (c *call) listKeys() (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	want, err := c.keyFilter()
	if err != nil {
		return nil, err
	}
	pos := transport.Position(c.snap.Position())
	out := wire.List[wire.KeySummary]{Position: &pos, AsOf: wire.AsTime(c.snap.AsOf)}
	me, seen := c.snap.Principal(c.caller.Principal), 0
	c.snap.EachKey(lifecycle.KeyID(c.query.Get(wire.QueryCursor)), func(k *lifecycle.Key) bool {
		if seen++; seen > maxScan || len(out.Items) == limit {
			out.Next = wire.Text(k.ID)
			return false
		}
		if access.Decide(me, access.KeyRead, k.ID).Allowed {
			if s := c.summary(k); want(k, &s) {
				out.Items = append(out.Items, s)
			}
		}
		return true
	})
	return out, nil
}

// maxScan bounds the rows that one page looks at: a filter that matches nothing
// answers an empty page with a cursor, not after a walk over everything.
const maxScan = 10_000

// keyFilter reads the filters of a list of keys.
func (c *call) keyFilter() (func(*lifecycle.Key, *wire.KeySummary) bool, error) {
	selects, err := parseSelector(c.query.Get(wire.QuerySelector))
	if err != nil {
		return nil, err
	}
	purpose, owner := c.query.Get(wire.QueryPurpose), c.query.Get(wire.QueryOwner)
	if purpose != "" {
		if _, err := lifecycle.ParsePurpose(purpose); err != nil {
			return nil, wire.Errorf(wire.Invalid, "%v", err)
		}
	}
	var in lifecycle.State
	if s := c.query.Get(wire.QueryState); s != "" {
		if err := in.UnmarshalText([]byte(s)); err != nil {
			return nil, wire.Errorf(wire.Invalid, "%v: choose one of %v", err, lifecycle.States)
		}
	}
	return func(k *lifecycle.Key, s *wire.KeySummary) bool {
		return (purpose == "" || purpose == string(k.Purpose)) && (owner == "" || owner == k.Owner) &&
			(in == 0 || in == s.State) && selects(s.Labels)
	}, nil
}

// parseSelector reads "team=rel,tier!=dev,team": every term must hold.
func parseSelector(s string) (func(map[string]string) bool, error) {
	type term struct {
		name, value string
		equal, any  bool
	}
	var terms []term
	if s != "" {
		for _, part := range strings.Split(s, ",") {
			t := term{name: part, any: true}
			if name, value, ok := strings.Cut(part, "!="); ok {
				t = term{name: name, value: value}
			} else if name, value, ok := strings.Cut(part, "="); ok {
				t = term{name: name, value: value, equal: true}
			}
			if t.name == "" {
				return nil, wire.Errorf(wire.Invalid, "selector %.60q: write it like team=rel,tier!=dev,audited", s)
			}
			terms = append(terms, t)
		}
	}
	return func(labels map[string]string) bool {
		for _, t := range terms {
			value, ok := labels[t.name]
			switch {
			case t.any && !ok, t.equal && (!ok || value != t.value), !t.any && !t.equal && ok && value == t.value:
				return false
			}
		}
		return true
	}, nil
}

func (c *call) summary(k *lifecycle.Key) wire.KeySummary {
	s := wire.KeySummary{Name: string(k.ID), Purpose: k.Purpose, Alg: k.Alg, Custody: k.Custody, Owner: k.Owner, Labels: labels(k.Labels),
		ActiveVersion: k.Active, NewestVersion: k.Newest, CreatedAt: wire.Time(k.Created.At), Overdue: overdue(c.snap.View, k, c.now())}
	number := k.Active
	if number == 0 {
		number = k.Newest
	}
	ver := c.snap.Version(k.ID, number)
	if ver == nil {
		return s
	}
	s.State, s.ActivatedAt = ver.State, wire.Time(ver.ActivatedAt)
	for _, i := range c.snap.Instances(k.ID, number) {
		if s.Instances++; i.Condition == lifecycle.Ready {
			s.InstancesOK++
		}
	}
	return s
}

// overdue reports whether the active version is older than the policy wants.
func overdue(v *state.View, k *lifecycle.Key, now lifecycle.Instant) bool {
	ver := v.Version(k.ID, k.Active)
	age := k.Policy.Overdue()
	return ver != nil && age > 0 && now > ver.ActivatedAt.Add(age)
}

func (c *call) now() lifecycle.Instant { return lifecycle.Instant(c.Clock().UnixMilli()) }

func (c *call) showKey() (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	return c.renderKey(c.snap, k)
}

func (c *call) listVersions() (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	pos := transport.Position(c.snap.Position())
	return wire.List[wire.Version]{Items: c.versions(c.snap.View, k), Position: &pos, AsOf: wire.AsTime(c.snap.AsOf)}, nil
}

func (c *call) exportKey() (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	sel := publish.Selection{KID: c.query.Get(wire.QueryKID)}
	if sel.Version, err = c.number(wire.QueryVersion, 0); err != nil {
		return nil, err
	}
	if name := c.query.Get(wire.QueryNode); name != "" {
		n := c.snap.NodeByName(name)
		if n == nil {
			return nil, noNode(name)
		}
		sel.Node = n.ID
	}
	format := publish.Format(c.query.Get(queryFormat))
	if format == "" {
		format = publish.JWKS
	}
	if sel == (publish.Selection{}) && format == publish.JWKS {
		set, err := c.Sets.Set(c.snap.View, k.ID)
		if err != nil {
			return nil, err
		}
		c.w.Header()["Etag"] = []string{set.ETag}
		return raw{contentType: wire.TypeJWKS, body: set.JWKS}, nil
	}
	body, err := publish.Export(c.snap.View, k.ID, sel, format)
	return raw{contentType: exportTypes[format], body: body}, err
}

var exportTypes = map[publish.Format]string{publish.PEM: wire.TypePEM, publish.DER: wire.TypeBinary, publish.JWKS: wire.TypeJWKS, publish.SSH: "text/plain; charset=utf-8"}

func (c *call) showPolicy() (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	c.w.Header()["Etag"] = []string{wire.ETag(k.PolicyVersion)}
	return wire.Policy{Key: string(k.ID), Version: k.PolicyVersion, Policy: k.Policy, Owner: k.Owner, BusinessReason: k.Reason,
		ConfirmBy: wire.Time(k.ConfirmBy), Labels: labels(k.Labels), Position: transport.Position(c.snap.Position())}, nil
}

func (c *call) setPolicy(in *wire.SetPolicy) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	revision, err := c.ifMatch()
	if err != nil {
		return nil, err
	}
	req.Comment = in.Comment
	set := command.SetPolicy{Policy: in.Policy, Owner: in.Owner, Reason: in.BusinessReason, ConfirmBy: in.ConfirmBy.Instant(), Labels: labelList(in.Labels)}
	r, err := c.Service.SetPolicy(c.r.Context(), req, c.name(), revision, set)
	return c.operation(asked{verb: "policy set", kind: command.KindSetPolicy, key: c.name(), comment: in.Comment, body: plannedPolicy(c.name(), set)}, r, err)
}

func plannedPolicy(key string, set command.SetPolicy) command.Body {
	set.Key = lifecycle.KeyID(key)
	return &set
}

// ifMatch reads the revision a change was made from.
func (c *call) ifMatch() (uint64, error) {
	v := c.r.Header["If-Match"]
	if len(v) == 0 {
		return 0, wire.Errorf(wire.PreconditionRequired, "this change needs If-Match with the revision it was made from").
			WithHint("GET %s, and send its ETag", c.r.URL.Path)
	}
	n, ok := wire.ParseETag(v[0])
	if !ok || len(v) > 1 || n == 0 {
		return 0, wire.Errorf(wire.Invalid, "If-Match: send the ETag as it was read, such as \"7\"")
	}
	return n, nil
}

func noNode(name string) error {
	return wire.Errorf(wire.NodeNotFound, "there is no node %.80q", name).WithHint("chancery node list")
}

func (c *call) rotateKey(in *wire.Rotate) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.RotateKey(c.r.Context(), req, c.name())
	return c.operation(asked{verb: "rotate", kind: command.KindPrepareVersion, key: c.name(), comment: in.Comment}, r, err)
}

func (c *call) activateVersion(in *wire.VersionVerb) (any, error) {
	return c.versionVerb("activate", command.KindActivateVersion, in, c.Service.ActivateVersion)
}

func (c *call) suspendVersion(in *wire.VersionVerb) (any, error) {
	return c.versionVerb("suspend", command.KindSuspendVersion, in, c.Service.SuspendVersion)
}

func (c *call) resumeVersion(in *wire.VersionVerb) (any, error) {
	return c.versionVerb("resume", command.KindResumeVersion, in, c.Service.ResumeVersion)
}

func (c *call) deactivateVersion(in *wire.VersionVerb) (any, error) {
	return c.versionVerb("deactivate", command.KindDeactivateVersion, in, c.Service.DeactivateVersion)
}

// status of an answer that is not complete yet.
const accepted = http.StatusAccepted
