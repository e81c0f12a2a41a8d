package state

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// maxLeafItems is how many signatures of one request a leaf names one by one; of a
// larger request it has the number and the digest of them all.
const maxLeafItems = 64

// recordSignatures judges each request by itself and writes a leaf for each that may
// go on. It reads a handful of rows and writes none: it runs for every signature of
// a strict key.
func (x *tx) recordSignatures(c *command.RecordSignatures) Outcome {
	node := x.node(c.Node)
	groups := make([]GroupOutcome, len(c.Groups))
	for i := range c.Groups {
		g := &c.Groups[i]
		if o := x.maySign(node, g); !o.OK() {
			groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
			continue
		}
		x.record(signatureLeaf(c.Node, g))
	}
	return Outcome{Groups: groups}
}

func signatureLeaf(node lifecycle.NodeID, g *command.SignatureGroup) Leaf {
	h := sha256.New()
	for _, it := range g.Items {
		h.Write(it.TBS)
		h.Write(it.Sig)
	}
	return Leaf{Kind: "signature.recorded", Actor: g.Principal, RequestID: g.RequestID, Key: g.Key, Version: g.Version, KID: g.KID, Node: node,
		Count: len(g.Items), Digest: hex.EncodeToString(h.Sum(nil)), Items: g.Items[:min(len(g.Items), maxLeafItems)]}
}

// maySign looks again at everything the log knows of a request's right to sign.
func (x *tx) maySign(node *lifecycle.Node, g *command.SignatureGroup) Outcome {
	name := subject(g.Key, g.Version)
	if node == nil || !node.Signs() {
		return refuse(InstanceNotHere, name, "the node may not sign: it is not a signing member of the cluster")
	}
	if s := node.SealedFor(g.Key); s != nil {
		return refuse(Sealed, name, "node %s was sealed at %s by %s", node.Name, s.At, s.By)
	}
	k, v, o := x.find(g.Key, g.Version)
	if !o.OK() {
		return o
	}
	if v.State != lifecycle.Active {
		return refuse(notActive(v), name, "the version is %s since %s", v.State, v.SinceAt)
	}
	i := x.instance(g.Key, g.Version, node.ID)
	if i == nil || i.KID != g.KID || !i.MaySign(v) {
		return refuse(InstanceNotHere, name, "node %s cannot use its instance of this version", node.Name)
	}
	return x.calls(k, g)
}

// calls checks the caller: a principal with a signer's role on the key whom its policy
// allows, and the token it came with, when it came with one.
func (x *tx) calls(k *lifecycle.Key, g *command.SignatureGroup) Outcome {
	p := get[lifecycle.Principal](x, TablePrincipals, g.Principal)
	if p == nil || p.RevokedAt != 0 {
		return refuse(Denied, g.Principal, "the principal is unknown or revoked")
	}
	if g.TokenID != "" {
		t := get[lifecycle.Token](x, TableTokens, g.TokenID)
		if t == nil || t.Principal != p.Name || t.RevokedAt != 0 || x.clock > t.ExpiresAt {
			return refuse(Denied, g.Principal, "the token is unknown, revoked or expired")
		}
	}
	if !k.Policy.AllowsCaller(p.Name) {
		return refuse(Denied, g.Principal, "the policy of %s does not name the principal among its callers", k.ID)
	}
	for _, grant := range p.Grants {
		if grant.Role == lifecycle.Signer && grant.Matches(g.Key) {
			return Outcome{}
		}
	}
	return refuse(Denied, g.Principal, "the principal has not the role signer on key %s", g.Key)
}

// notActive is the code for a version that cannot sign.
func notActive(v *lifecycle.Version) Code {
	switch {
	case v.State == lifecycle.Suspended:
		return KeySuspended
	case v.State == lifecycle.Destroyed:
		return KeyDestroyed
	case v.Revocation != nil:
		return KeyRevoked
	}
	return NoActiveVersion
}
