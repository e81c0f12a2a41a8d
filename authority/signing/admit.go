package signing

import (
	"reflect"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// job is one admitted request.
type job struct {
	Request
	limit time.Duration // of its age
	verb  string        // of its audit records; "" = key.sign
	grounds
	view  *state.View // that the grounds were found in
	found state.Grounds
}

// grounds are the rows of one View that a signature rests on.
type grounds struct {
	key      *lifecycle.Key
	version  *lifecycle.Version
	instance *lifecycle.Instance
	node     *lifecycle.Node // this one
	caller   *lifecycle.Principal
	token    *lifecycle.Token // nil = it came without one
}

// in is these rows, to be looked for in a later View.
func (g *grounds) in(v *state.View) state.Grounds {
	return v.Grounds(state.PrincipalRow(g.caller), state.TokenRow(g.token), state.KeyRow(g.key), state.VersionRow(g.version), state.NodeRow(g.node), state.InstanceRow(g.instance))
}

func (j *job) position() state.Position { return j.view.Position() }

func (j *job) ref() hsm.Ref {
	return hsm.Ref{ID: hsm.ObjectID(j.instance.CKAID), SPKI: j.instance.SPKI, Alg: j.key.Alg}
}

// admit is the first look (S1): a lease, a known caller, the active version, this
// node's instance. A refusal is put on record.
func (s *Signer) admit(r Request) (*job, error) {
	v := s.Ledger.View()
	j := &job{Request: r, limit: s.limit(v), view: v}
	err := s.Lease.Usable(v)
	if err == nil {
		j.grounds, err = s.look(v, r)
	}
	if err == nil {
		_, err = s.young(j)
	}
	if err != nil {
		return nil, s.refused(r, err)
	}
	j.found = j.in(v)
	return j, nil
}

// limit is how old a request may become.
func (s *Signer) limit(v *state.View) time.Duration {
	if s.MaxAge != 0 {
		return s.MaxAge
	}
	c := v.Cluster()
	if c == nil {
		return 0 // before genesis nothing is signed
	}
	_, age := c.Settings.SigningTerms()
	return time.Duration(age) * time.Millisecond
}

// young refuses a request that has reached its age limit, and says when it looked.
func (s *Signer) young(j *job) (now time.Duration, err error) {
	now = s.Elapsed()
	if age := now - j.ReceivedAt; age >= j.limit {
		return now, refuse("too_late", "send the request again, or to another node", "the request was %d ms old, the limit is %d ms: nothing was released", age.Milliseconds(), j.limit.Milliseconds())
	}
	return now, nil
}

// look finds everything a signature rests on, in one View.
func (s *Signer) look(v *state.View, r Request) (g grounds, err error) {
	id := lifecycle.KeyID(r.Key)
	if r.named == 0 || r.right != "" {
		if err := g.asks(v, r, id); err != nil {
			return g, err
		}
	}
	if g.key = v.Key(id); g.key == nil {
		return g, refuse(string(state.KeyNotFound), "chancery key list", "there is no key %q", r.Key)
	}
	if g.caller != nil && r.right == "" {
		if d := access.DecideCaller(g.caller, g.key); !d.Allowed {
			return g, &authority.Denied{Why: d.Why}
		}
	}
	if err := g.find(v, r); err != nil {
		return g, err
	}
	if g.key.Policy.Strict && s.Record == nil {
		return g, refuse("not_available", "try another node", "%s is strict, and this node has no way to record its signatures", r.Key)
	}
	n := v.Node(s.Ledger.NodeID())
	if g.node = n; n == nil || !n.Signs() {
		return g, refuse("instance_not_here", "try another node", "this node may not sign: it is not a signing member of the cluster")
	}
	if err := s.sealed(n, id); err != nil {
		return g, err
	}
	g.instance = v.Instance(id, g.version.Number, n.ID)
	if g.instance == nil || !r.mayUse(g.instance, g.version) {
		return g, whyNotHere(v, g.key, g.version, g.instance, n)
	}
	return g, s.usable(g)
}

// asks finds who asks, and whether they may.
func (g *grounds) asks(v *state.View, r Request, id lifecycle.KeyID) error {
	g.caller = v.Principal(r.Caller.Principal)
	right := r.right
	if right == "" {
		right = access.KeySign
	}
	if d := access.Decide(g.caller, right, id); !d.Allowed {
		return &authority.Denied{Why: d.Why}
	}
	if r.Caller.TokenID != "" {
		if g.token = v.Token(r.Caller.TokenID); g.token == nil || g.token.RevokedAt != 0 {
			return &authority.Denied{Why: "the token was revoked"}
		}
	}
	return nil
}

// mayUse reports whether the instance may sign what is asked for, with v its version.
func (r *Request) mayUse(i *lifecycle.Instance, v *lifecycle.Version) bool {
	switch {
	case r.named == 0:
		return i.MaySign(v)
	case r.introduces:
		return i.MayIntroduce(v)
	}
	return i.MayUphold(v)
}

// find finds the version to sign with: the active one, or the one that was named.
func (g *grounds) find(v *state.View, r Request) error {
	if r.named == 0 {
		if g.version = v.Version(g.key.ID, g.key.Active); g.version == nil || !g.version.State.MaySign() {
			return whyNotActive(v, g.key)
		}
		return nil
	}
	switch g.version = v.Version(g.key.ID, r.named); {
	case g.version == nil:
		return refuse(string(state.VersionNotFound), "chancery key show "+string(g.key.ID), "%s has no version %d", g.key.ID, r.named)
	case r.introduces && !g.version.MayIntroduce():
		return refuse(string(state.NotPublished), "chancery key show "+string(g.key.ID), "version %d of %s is %s: only a version that is in the trust set asks for certificates", r.named, g.key.ID, g.version.State)
	case !r.introduces && !g.version.MayUphold():
		return refuse(string(state.NoActiveVersion), "chancery key show "+string(g.key.ID), "version %d of %s signs nothing any more", r.named, g.key.ID)
	}
	return nil
}

// usable asks what stands in no state: whether this node can use its instance now.
func (s *Signer) usable(g grounds) error {
	if err := s.Usable(g.key.ID, g.version.Number); err != nil {
		return refuse("instance_not_here", "try another node", "%s cannot use its instance of %s version %d: %v", g.node.Name, g.key.ID, g.version.Number, err)
	}
	return nil
}

// sealed asks whether somebody on this machine forbade it: the machine's own list
// binds at once, the cluster's also a node that has lost the list.
func (s *Signer) sealed(n *lifecycle.Node, id lifecycle.KeyID) error {
	seal := s.Sealed(id)
	if seal == nil {
		seal = n.SealedFor(id)
	}
	if seal == nil {
		return nil
	}
	what := "this node"
	if seal.Key != "" {
		what = string(seal.Key) + " on this node"
	}
	return refuse("sealed", "try another node; chancery unseal "+n.Name+" ends it", "%s was sealed at %s by %s: %s", what, seal.At, seal.By, seal.Reason)
}

// lookAgain finds the grounds of an admitted request in a later View: the same
// version and instance, under the same policy, because what was signed was checked
// against that one.
//
// What look decides depends on the rows that it found, on what this machine says of
// its seals and of the instance, and on nothing else: no clock, no other row. So as
// long as v has the very same rows, only the machine is asked again.
func (s *Signer) lookAgain(v *state.View, j *job) error {
	if j.found.Stand(v) {
		if err := s.sealed(j.node, j.key.ID); err != nil {
			return err
		}
		return s.usable(j.grounds)
	}
	now, err := s.look(v, j.Request)
	if err != nil {
		return err
	}
	if now.instance.KID != j.instance.KID {
		return refuse("conflict", "send the request again", "%s changed to version %d while signing: nothing was released", j.key.ID, now.version.Number)
	}
	if now.key != j.key && !reflect.DeepEqual(now.key.Policy, j.key.Policy) {
		return refuse("conflict", "send the request again", "the policy of %s changed while signing: nothing was released", j.key.ID)
	}
	return nil
}
