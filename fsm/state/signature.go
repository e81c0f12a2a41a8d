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

// leafRecorded is the kind of their leaves.
const leafRecorded = "signature.recorded"

// recordSignatures judges each request by itself and writes a leaf for each that may
// go on, and where to find it for each of its signatures. It reads a handful of hot
// rows and writes none: it runs for every signature of a strict key.
func (x *tx) recordSignatures(c *command.RecordSignatures) Outcome {
	node := x.node(c.Node)
	groups := make([]GroupOutcome, len(c.Groups))
	for i := range c.Groups {
		g := &c.Groups[i]
		if o := x.maySign(node, g); !o.OK() {
			groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
			continue
		}
		x.noteRecorded(g.Items)
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
	return Leaf{Kind: leafRecorded, Actor: g.Principal, RequestID: g.RequestID, Key: g.Key, Version: g.Version, KID: g.KID, Node: node,
		Count: len(g.Items), Digest: hex.EncodeToString(h.Sum(nil)), Items: g.Items[:min(len(g.Items), maxLeafItems)]}
}

// maySign looks again at everything the log knows of a request's right to sign.
func (x *tx) maySign(node *lifecycle.Node, g *command.SignatureGroup) Outcome {
	if o := x.mayUse(node, g.Key, g.Version, g.KID); !o.OK() {
		return x.succeeded(g.Key, g.Version, o)
	}
	return x.calls(g.Principal, g.TokenID, g.Key)
}

// mayUse says whether the node may use its instance of the version: the part of the
// right to sign that is not the caller's.
func (x *tx) mayUse(node *lifecycle.Node, key lifecycle.KeyID, version uint64, kid string) Outcome {
	name := subject(key, version)
	if o := x.nodeSigns(node, key, name); !o.OK() {
		return o
	}
	_, v, o := x.find(key, version)
	if !o.OK() {
		return o
	}
	if v.State != lifecycle.Active {
		return refuse(notActive(v), name, "the version is %s since %s", v.State, v.SinceAt)
	}
	i := x.instance(key, version, node.ID)
	if i == nil || i.KID != kid || !i.MaySign(v) {
		return refuse(InstanceNotHere, name, "node %s cannot use its instance of this version", node.Name)
	}
	return Outcome{}
}

func (x *tx) nodeSigns(node *lifecycle.Node, key lifecycle.KeyID, name string) Outcome {
	if node == nil || !node.Signs() {
		return refuse(InstanceNotHere, name, "the node may not sign: it is not a signing member of the cluster")
	}
	if s := node.SealedFor(key); s != nil {
		return refuse(Sealed, name, "node %s was sealed at %s by %s", node.Name, s.At, s.By)
	}
	return Outcome{}
}

// calls checks the caller: a principal with a signer's role on the key whom its policy
// allows, and the token it came with, when it came with one.
func (x *tx) calls(principal, token string, key lifecycle.KeyID) Outcome {
	p := get[lifecycle.Principal](x, TablePrincipals, principal)
	if p == nil || p.RevokedAt != 0 {
		return refuse(Denied, principal, "the principal is unknown or revoked")
	}
	if token != "" {
		t := get[lifecycle.Token](x, TableTokens, token)
		if t == nil || t.Principal != p.Name || t.RevokedAt != 0 || x.clock > t.ExpiresAt {
			return refuse(Denied, principal, "the token is unknown, revoked or expired")
		}
	}
	if k := x.key(key); k == nil || !k.Policy.AllowsCaller(p.Name) {
		return refuse(Denied, principal, "the policy of %s does not name the principal among its callers", key)
	}
	for _, grant := range p.Grants {
		if grant.Role == lifecycle.Signer && grant.Matches(key) {
			return Outcome{}
		}
	}
	return refuse(Denied, principal, "the principal has not the role signer on key %s", key)
}

// succeeded is the refusal of a use whose version signs no more because another one
// does, or will in a moment: the caller is told to ask again, as everybody is who asks
// now. Any other refusal stays as it is.
func (x *tx) succeeded(key lifecycle.KeyID, version uint64, o Outcome) Outcome {
	k, v, found := x.find(key, version)
	if !found.OK() || v.State == lifecycle.Active {
		return o
	}
	newest := x.version(k.ID, k.Newest)
	switch {
	case k.Active > version:
		return refuse(Conflict, o.Subject, "the key changed to version %d while this one was used: ask again", k.Active)
	case newest.Number > version && newest.Emergency && newest.State == lifecycle.PreActivation:
		return refuse(BeingReplaced, o.Subject, "the key was replaced at %s and version %d is being made: ask again in a moment", newest.Created.At, newest.Number)
	}
	return o
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
