package api

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// lossOf is what would end with the key pairs of a node, or has ended with them: v is the
// state before. gone names the versions by key, nil = all; with it the node goes on, with
// a new key store.
func (c *call) lossOf(v *state.View, n *lifecycle.Node, gone map[lifecycle.KeyID][]uint64) *wire.Loss {
	l := &wire.Loss{Node: n.Name, Issuers: []wire.LostIssuer{}, Keys: []wire.LostKey{}}
	ends := func(key lifecycle.KeyID, version uint64) bool {
		return gone == nil || slices.Contains(gone[key], version)
	}
	stays := gone != nil
	v.EachInstance(func(i *lifecycle.Instance) bool {
		if i.Node == n.ID && i.KID != "" && i.Condition != lifecycle.Erased && ends(i.Key, i.Version) {
			l.Instances++
			c.loseKey(l, v, i, stays)
		}
		return true
	})
	for _, ca := range v.CACerts("") {
		if ca.Node == n.ID && ends(ca.Issuer, ca.Version) && ca.Revocation == nil && c.now() <= ca.NotAfter {
			lost := c.lostIssuer(l, v, ca)
			above := v.CACertByKID(ca.ParentKID)
			if above != nil && above.KID != ca.KID && (above.Node == n.ID && ends(above.Issuer, above.Version) || isGone(v, above)) {
				lost.RevokedAt = 0
				if lost.Next == "" {
					lost.Next = fmt.Sprintf("no CRL of %s can say so any more: docs/lost.md, \"The root\"", above.Issuer)
				}
			}
			if lost.Certificates > 0 && (l.Deadline == 0 || lost.CRLUntil < l.Deadline) {
				l.Deadline = lost.CRLUntil
			}
			l.Issuers = append(l.Issuers, lost)
		}
	}
	return l
}

// isGone reports whether nobody signs for an instance any more.
func isGone(v *state.View, ca *lifecycle.CACert) bool {
	_, gone := issuing.Deadline(v, ca)
	return gone
}

// loseKey notes the key of an instance when no other node signs with it.
func (c *call) loseKey(l *wire.Loss, v *state.View, i *lifecycle.Instance, stays bool) {
	k := v.Key(i.Key)
	if k == nil || k.Active != i.Version || signsElsewhere(v, i) {
		return
	}
	next := "chancery key rotate " + string(k.ID)
	switch root := v.Issuer(k.ID); {
	case k.Custody == lifecycle.Singleton && root != nil && root.Kind == lifecycle.RootIssuer:
		next = "make another root and issuers under it: docs/lost.md, \"The root\""
	case k.Custody == lifecycle.Singleton && !stays:
		next = "make another key on a node that stays: chancery key create NAME --custody singleton --node NODE"
	}
	l.Keys = append(l.Keys, wire.LostKey{Key: string(k.ID), Version: i.Version, Custody: string(k.Custody), Purpose: string(k.Purpose), Next: next})
}

// signsElsewhere reports whether another node's instance of the version may sign.
func signsElsewhere(v *state.View, i *lifecycle.Instance) bool {
	ver := v.Version(i.Key, i.Version)
	for _, other := range v.Instances(i.Key, i.Version) {
		if n := v.Node(other.Node); other.Node != i.Node && n != nil && n.Signs() && other.MaySign(ver) {
			return true
		}
	}
	return false
}

// lostIssuer says what depends on an instance of an issuer, and until when it can.
func (c *call) lostIssuer(l *wire.Loss, v *state.View, ca *lifecycle.CACert) wire.LostIssuer {
	w := wire.LostIssuer{Issuer: string(ca.Issuer), Version: ca.Version, KID: ca.KID, Subject: "CN=" + ca.Subject, Serial: hex.EncodeToString(ca.Serial),
		CRLUntil: wire.Time(issuing.LastCRL(v, ca))}
	if crl := v.CRLState(ca.KID, 0); crl != nil {
		w.CRLNumber = crl.Number
	}
	for _, r := range v.Responders(ca.KID) {
		if r.Node != ca.Node {
			w.OCSPUntil = max(w.OCSPUntil, wire.Time(r.NotAfter))
		}
	}
	w.Certificates = c.toReissue(l, v, ca)
	is := v.Issuer(ca.Issuer)
	switch {
	case is == nil:
	case is.Kind == lifecycle.IssuingIssuer:
		w.Parent, w.RevokedAt = string(is.Parent), w.CRLUntil
	case is.Kind == lifecycle.ExternalIssuer:
		w.Next = fmt.Sprintf("have the CA that signed it revoke serial %s after %s", w.Serial, w.CRLUntil)
	}
	if w.Certificates > 0 {
		w.Next = fmt.Sprintf("chancery issuer affected %s --node %s", ca.Issuer, nodeName(v, ca.Node))
	}
	return w
}

// toReissue counts the certificates of an instance that are good and have no successor.
func (c *call) toReissue(l *wire.Loss, v *state.View, ca *lifecycle.CACert) (n int) {
	q := state.CertQuery{Issuer: ca.Issuer, KID: ca.KID, From: c.now(), States: []lifecycle.CertState{lifecycle.CertIssued, lifecycle.CertHeld}, Limit: state.MaxCertPage}
	for looked := 0; ; {
		page, err := v.FindCertificates(q)
		if err != nil {
			l.Unknown = append(l.Unknown, fmt.Sprintf("certificates of %s: they could not be counted: %v", ca.Issuer, err))
			return n
		}
		for _, cert := range page.Certificates {
			if issuedAgain(cert) {
				n++
			}
		}
		looked += len(page.Certificates)
		if q.Cursor = page.Next; q.Cursor == "" {
			return n
		}
		if looked >= mostCertificates {
			l.Unknown = append(l.Unknown, fmt.Sprintf("certificates of %s: there are more than %d", ca.Issuer, n))
			return n
		}
	}
}

// issuedAgain reports whether somebody has to ask for a certificate again when the
// instance that signed it is gone. What the cluster makes for itself comes by itself.
func issuedAgain(cert *lifecycle.Certificate) bool {
	return cert.ReplacedBy == nil && cert.Profile != lifecycle.ProfileOCSP
}

// reissue says how, and by when; nil when nobody has to.
func reissue(v *state.View, cert *lifecycle.Certificate) *wire.Reissue {
	ca := v.CACertByKID(cert.IssuerKID)
	if ca == nil || !issuedAgain(cert) {
		return nil
	}
	by := issuing.LastCRL(v, ca)
	if ca.Revocation != nil {
		by = min(by, ca.Revocation.At)
	}
	command := "chancery cert renew CERT --key-file KEY --out CERT"
	if cert.Profile == lifecycle.ProfileCA {
		command = "another root or parent signs the CA certificates of its issuers: docs/lost.md"
	}
	return &wire.Reissue{By: wire.Time(min(by, cert.NotAfter)), Command: command}
}

// lost adds to the plan, or the answer, of a change what ends with a node's key pairs.
func lost(op *wire.Operation, l *wire.Loss) {
	op.Loss, op.BlastRadius = l, nil // that of a key, which this is not about
	for _, k := range l.Keys {
		op.Next = append(op.Next, k.Next)
	}
	for _, i := range l.Issuers {
		if i.Next != "" {
			op.Next = append(op.Next, i.Next)
		}
	}
}

func (c *call) reprovisionNode(in *wire.Reprovision) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	spec := authority.ReprovisionSpec{Node: c.name(), Reason: string(in.Reason), Comment: in.Comment, All: in.All}
	before := c.Service.View()
	do := c.Service.Reprovision
	if req.DryRun {
		do = c.Service.PlanReprovision
	}
	keys, err := do(c.r.Context(), req, spec)
	if err != nil {
		return nil, err
	}
	n := before.NodeByName(c.name())
	w := &wire.Reprovisioned{RequestID: req.RequestID, Node: n.Name, Plan: req.DryRun, Fenced: !req.DryRun, Keys: []wire.ReprovisionedKey{}, Next: []string{},
		Loss: c.lossOf(before, n, authority.Gone(before, n.ID, in.All))}
	if req.DryRun {
		w.FencedWithinMS = int64(authority.BoundsOf(before).Fenced)
	}
	v := c.Service.View()
	for _, k := range keys {
		w.Keys = append(w.Keys, wire.ReprovisionedKey{Key: string(k.Key), Gone: k.Gone, NewVersion: k.NewVersion, Why: k.Why})
		if k.Next != "" {
			w.Next = append(w.Next, k.Next)
		}
		if !req.DryRun {
			var fenced bool
			v, fenced = c.await(k.Outcome, authority.Fenced)
			w.Fenced = w.Fenced && fenced
		}
	}
	for _, i := range w.Loss.Issuers {
		if i.Next != "" {
			w.Next = append(w.Next, i.Next)
		}
	}
	if !w.Plan && !w.Fenced {
		c.status = accepted
		w.Next = append(w.Next, "chancery status --watch")
	}
	w.Position = transport.Position(v.Position())
	return w, nil
}
