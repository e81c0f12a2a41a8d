package api

import (
	"sort"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/sshsig"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// page cuts one page out of a list that is sorted by name; the cursor is the name
// to go on from.
func page[T any](c *call, all []T, name func(T) string) (items []T, next wire.Text, err error) {
	limit, err := c.limit()
	if err != nil {
		return nil, "", err
	}
	from := c.query.Get(wire.QueryCursor)
	at := sort.Search(len(all), func(i int) bool { return name(all[i]) >= from })
	all = all[at:]
	if len(all) > limit {
		next, all = wire.Text(name(all[limit])), all[:limit]
	}
	return all, next, nil
}

// pageOrAll is page where a limit or a cursor asks for one: short lists that callers take
// for whole.
func pageOrAll[T any](c *call, all []T, name func(T) string) (items []T, next wire.Text, err error) {
	if !c.query.Has(wire.QueryLimit) && !c.query.Has(wire.QueryCursor) {
		return all, "", nil
	}
	return page(c, all, name)
}

// listOf makes a list answer.
func listOf[T any](c *call, items []T, next wire.Text) wire.List[T] {
	pos := transport.Position(c.snap.Position())
	return wire.List[T]{Items: items, Next: next, Position: &pos, AsOf: wire.AsTime(c.snap.AsOf)}
}

func (c *call) principal(p *lifecycle.Principal) wire.Principal {
	w := wire.Principal{Name: p.Name, Kind: p.Kind, Roles: roles(p), SSHKeys: notNil(p.SSHKeys), Certs: notNil(p.Certs),
		Created: origin(p.Created), RevokedAt: wire.Time(p.RevokedAt), RevokedBy: wire.Text(p.RevokedBy)}
	for _, t := range c.snap.Tokens() {
		if t.Principal == p.Name && t.RevokedAt == 0 && c.now() < t.ExpiresAt {
			w.Tokens++
		}
	}
	return w
}

func roles(p *lifecycle.Principal) []string {
	out := []string{}
	for _, g := range p.Grants {
		out = append(out, g.String())
	}
	return out
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (c *call) listPrincipals() (any, error) {
	if err := c.may(access.PrincipalRead, ""); err != nil {
		return nil, err
	}
	rows, next, err := page(c, c.snap.Principals(), func(p *lifecycle.Principal) string { return p.Name })
	var items []wire.Principal
	for _, p := range rows {
		items = append(items, c.principal(p))
	}
	return listOf(c, items, next), err
}

func (c *call) showPrincipal() (any, error) {
	name := c.name()
	if name != c.caller.Principal { // everybody may look at themselves
		if err := c.may(access.PrincipalRead, ""); err != nil {
			return nil, err
		}
	}
	p := c.snap.Principal(name)
	if p == nil {
		return nil, wire.Errorf(wire.PrincipalNotFound, "there is no principal %.80q", name).WithHint("chancery principal list")
	}
	return c.principal(p), nil
}

func (c *call) addPrincipal(in *wire.AddPrincipal) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	req.Comment = in.Comment
	rec := command.PrincipalRecord{Name: in.Name, Kind: in.Kind, SSHKeys: in.SSHKeys, Certs: in.Certs}
	for _, role := range in.Roles {
		g, err := lifecycle.ParseGrant(role)
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "%v", err)
		}
		rec.Grants = append(rec.Grants, g)
	}
	r, err := c.Service.AddPrincipal(c.r.Context(), req, rec, in.Replace)
	return c.operation(asked{verb: "principal add", kind: command.KindAddPrincipal, subject: in.Name, comment: in.Comment, body: &command.AddPrincipal{Principal: rec, Replace: in.Replace}}, r, err)
}

func (c *call) revokePrincipal(in *nothing) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	if err := lifecycle.CheckName("principal", c.name()); err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	r, err := c.Service.RevokePrincipal(c.r.Context(), req, c.name())
	return c.operation(asked{verb: "principal revoke", kind: command.KindRevokePrincipal, subject: c.name()}, r, err)
}

func tokenView(t *lifecycle.Token) wire.Token {
	return wire.Token{ID: t.ID, Principal: t.Principal, Label: t.Label, ExpiresAt: wire.Time(t.ExpiresAt), Created: origin(t.Created), RevokedAt: wire.Time(t.RevokedAt)}
}

func (c *call) listTokens() (any, error) {
	if err := c.may(access.TokenSelf, ""); err != nil {
		return nil, err
	}
	of := c.query.Get(wire.QueryActor)
	var mine []*lifecycle.Token
	for _, t := range c.Service.Tokens(c.snap.View, c.caller) {
		if of == "" || of == t.Principal {
			mine = append(mine, t)
		}
	}
	rows, next, err := page(c, mine, func(t *lifecycle.Token) string { return t.ID })
	var items []wire.Token
	for _, t := range rows {
		items = append(items, tokenView(t))
	}
	return listOf(c, items, next), err
}

func (c *call) showToken() (any, error) {
	if err := c.may(access.TokenSelf, ""); err != nil {
		return nil, err
	}
	for _, t := range c.Service.Tokens(c.snap.View, c.caller) {
		if t.ID == c.name() {
			return tokenView(t), nil
		}
	}
	return nil, wire.Errorf(wire.TokenNotFound, "there is no token %.80q that you may see", c.name()).WithHint("chancery token list")
}

func (c *call) createToken(in *wire.CreateToken) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	if in.Principal == "" {
		return nil, wire.Errorf(wire.Invalid, "a token needs its principal")
	}
	r, secret, err := c.Service.CreateToken(c.r.Context(), req, in.Principal, in.Label, in.TTL)
	if err != nil {
		return c.operation(asked{}, r, err)
	}
	out := wire.CreatedToken{Secret: secret, RequestID: r.RequestID}
	out.Token, out.Position = c.made(r), c.here()
	if out.Principal == "" {
		out.Principal, out.Label = in.Principal, in.Label
	}
	return out, nil
}

// made is the token that a request made, empty for a plan.
func (c *call) made(r authority.Result) wire.Token {
	if r.Outcome.Replayed {
		c.w.Header()[wire.HeaderReplayed] = []string{"true"}
	}
	if t := c.Service.View().Token(r.Outcome.Subject); t != nil && !r.DryRun {
		return tokenView(t)
	}
	return wire.Token{}
}

// here is the position after a change.
func (c *call) here() wire.Position {
	c.snap.View = c.Service.View()
	return transport.Position(c.snap.Position())
}

func (c *call) revokeToken(in *nothing) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.RevokeToken(c.r.Context(), req, c.name())
	return c.operation(asked{verb: "token revoke", kind: command.KindRevokeToken, subject: c.name()}, r, err)
}

// challenge answers for a principal by name or by the fingerprint of an SSH key.
func (c *call) challenge(in *wire.ChallengeRequest) (any, error) {
	name := in.Principal
	if (name == "") == (in.Fingerprint == "") {
		return nil, wire.Errorf(wire.Invalid, "send either principal or fingerprint")
	}
	if in.Fingerprint != "" {
		if name = c.byFingerprint(in.Fingerprint); name == "" {
			return nil, wire.Errorf(wire.LoginFailed, "no principal has this SSH key").WithHint("an admin adds it with: chancery principal add NAME --ssh-key FILE")
		}
	}
	_, text, expires, err := c.Service.Challenge(name)
	if err != nil {
		return nil, err
	}
	return wire.Challenge{Challenge: text, Namespace: authority.LoginNamespace, ExpiresAt: wire.Time(expires)}, nil
}

func (c *call) byFingerprint(fingerprint string) string {
	for _, p := range c.Service.View().Principals() {
		if p.RevokedAt != 0 {
			continue
		}
		for _, line := range p.SSHKeys {
			if k, err := sshsig.ParseAuthorizedKey(line); err == nil && k.Fingerprint() == fingerprint {
				return p.Name
			}
		}
	}
	return ""
}

func (c *call) login(in *wire.LoginRequest) (any, error) {
	if err := c.takeRequestID(); err != nil {
		return nil, err
	}
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	req.Caller = authority.Caller{Remote: c.r.RemoteAddr}
	r, token, err := c.Service.Login(c.r.Context(), req, nonce(in.Challenge), in.Signature)
	if err != nil {
		if e := transport.Failure(err); e.Code == wire.Unauthenticated {
			e.Code = wire.LoginFailed
			return nil, e.WithHint("chancery login --ssh-key FILE")
		}
		return nil, err
	}
	t := c.made(r)
	return wire.Login{Principal: t.Principal, TokenID: t.ID, Token: token, ExpiresAt: t.ExpiresAt, Position: c.here()}, nil
}

// nonce finds the line of a challenge that names it; the text itself is the
// leader's own copy when the signature is checked.
func nonce(challenge string) string {
	for line := range strings.Lines(challenge) {
		if v, ok := strings.CutPrefix(line, "nonce: "); ok {
			return strings.TrimSuffix(v, "\n")
		}
	}
	return ""
}

func (c *call) whoAmI() (any, error) {
	p := c.snap.Principal(c.caller.Principal)
	out := wire.WhoAmI{Principal: p.Name, Kind: p.Kind, Roles: roles(p), Via: "certificate", TokenID: wire.Text(c.caller.TokenID),
		Cluster: c.snap.Cluster().Name, Node: c.Node, Position: transport.Position(c.snap.Position())}
	if c.caller.TokenID != "" {
		out.Via = "token"
		if t := c.snap.Token(c.caller.TokenID); t != nil {
			out.ExpiresAt = wire.Time(t.ExpiresAt)
		}
	} else {
		out.ExpiresAt = wire.AsTime(c.r.TLS.PeerCertificates[0].NotAfter)
	}
	return out, nil
}

// canVerbs maps the command line's words to the verbs of package access.
var canVerbs = map[string]access.Verb{
	"sign": access.KeySign, "verify": access.KeyVerify, "jwt sign": access.KeySign, "jwt verify": access.KeyVerify,
	"key list": access.KeyRead, "key show": access.KeyRead, "key versions": access.KeyRead, "key history": access.KeyRead, "key export": access.KeyRead,
	"key policy get": access.KeyRead, "key policy set": access.KeyPolicy,
	"rotation list": access.KeyRead, "rotation show": access.KeyRead, "rotation pause": access.KeyRotate, "rotation resume": access.KeyRotate,
	"rotation skip": access.KeySkip, "rotation rollback": access.KeyRotate,
	"status": access.StatusRead, "events": access.LogRead, "log list": access.LogRead, "audit list": access.AuditRead, "report inventory": access.ReportRead, "report signatures": access.AuditRead, "report rotation": access.ReportRead, "report dependents": access.ReportRead, "key confirm": access.KeyConfirm,
	"principal list": access.PrincipalRead, "principal add": access.PrincipalEdit, "principal revoke": access.PrincipalEdit,
	"token list": access.TokenSelf, "token create": access.TokenEdit, "token revoke": access.TokenEdit,
	"node list": access.NodeRead, "node token": access.NodeEdit, "node promote": access.NodeEdit, "node quarantine": access.NodeEdit, "node remove": access.NodeEdit,
	"consumer list": access.ConsumerRead, "consumer show": access.ConsumerRead, "consumer register": access.ConsumerEdit, "consumer retire": access.ConsumerEdit,
	"consumer waive": access.ConsumerWaive, "consumer confirm": access.ConsumerConfirm,
	"proposal list": access.ProposalRead, "proposal show": access.ProposalRead, "proposal approve": access.ProposalApprove,
	"proposal reject": access.ProposalApprove, "proposal withdraw": access.ProposalWithdraw,
	"cluster show": access.ClusterRead, "cluster set": access.ClusterEdit, "cluster rotate-gossip-key": access.ClusterEdit, "snapshot save": access.SnapshotSave,
}

func (c *call) canI(in *wire.CanI) (any, error) {
	verb, ok := canVerbs[in.Verb]
	for _, v := range access.Verbs {
		dotted := strings.ReplaceAll(string(v), ".", " ")
		if !ok && (in.Verb == string(v) || in.Verb == dotted || "key "+in.Verb == dotted) {
			verb, ok = v, true
		}
	}
	if !ok {
		return nil, wire.Errorf(wire.Invalid, "unknown verb %.60q: write it like the command, for example sign or \"key revoke\"", in.Verb)
	}
	if in.Key != "" {
		if err := lifecycle.CheckName("key", in.Key); err != nil {
			return nil, wire.Errorf(wire.Invalid, "%v", err)
		}
	}
	p := c.snap.Principal(c.caller.Principal)
	d := access.Decide(p, verb, lifecycle.KeyID(in.Key))
	if k := c.snap.Key(lifecycle.KeyID(in.Key)); k != nil && verb == access.KeySign && d.Allowed {
		d = access.DecideCaller(p, k)
	}
	out := wire.Decision{Allowed: d.Allowed, Verb: in.Verb, Key: wire.Text(in.Key), Why: d.Why}
	if d.Allowed {
		out.Grant = wire.Text(grantFor(p, verb, lifecycle.KeyID(in.Key)))
		out.Why = "allowed by " + string(out.Grant)
	}
	return out, nil
}

// grantFor finds the grant that allows it: the first one that would do alone.
func grantFor(p *lifecycle.Principal, verb access.Verb, key lifecycle.KeyID) string {
	for _, g := range p.Grants {
		alone := *p
		alone.Grants = []lifecycle.Grant{g}
		if access.Decide(&alone, verb, key).Allowed {
			return g.String()
		}
	}
	return ""
}
