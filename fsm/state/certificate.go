package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var errRequestKey = errors.New("the key of a request is too short")

// present is the value of index rows that hold nothing but their key.
var present = []byte{}

func (x *tx) certificate(s lifecycle.Serial) *lifecycle.Certificate {
	return coldRow[lifecycle.Certificate](x, TableCertificates, serialKey(s))
}

func (x *tx) putCertificate(c *lifecycle.Certificate) {
	c.Rev = x.index
	x.coldPut(TableCertificates, serialKey(c.Serial), command.Marshal(c))
}

// holder finds the instance that a kid belongs to; kids are never forgotten.
func (x *tx) holder(kid string) *KIDRow { return get[KIDRow](x, TableKIDs, kid) }

// tally is the counts of an instance's certificates, to be changed: they are written
// once, when the entry is done (putTallies).
func (x *tx) tally(kid string) *lifecycle.CertTally {
	for _, t := range x.tallies {
		if t.KID == kid {
			return t
		}
	}
	t := &lifecycle.CertTally{KID: kid}
	if old := get[lifecycle.CertTally](x, TableTallies, kid); old != nil {
		*t = *old
	}
	x.tallies = append(x.tallies, t)
	return t
}

func (x *tx) putTallies() {
	for _, t := range x.tallies {
		put(x, TableTallies, t.KID, t)
	}
	x.tallies = nil
}

// announce enters a certificate that may be signed now.
func (x *tx) announce(c *lifecycle.Certificate) {
	c.Rev = x.index
	serial := serialKey(c.Serial)
	x.coldAdd(TableCertificates, serial, command.Marshal(c))
	x.coldAdd(TableCertKeys, string(c.SPKIHash)+serial, present)
	if x.owners == nil {
		x.owners = map[string]string{}
	}
	x.owners[string(c.SPKIHash)] = c.Requester
	x.openIntents = append(append(x.openIntents, serial...), instantKey(c.DeadlineAt)...)
	t := x.tally(c.IssuerKID)
	t.Intents++
	if c.Profile != lifecycle.ProfileOCSP { // the issuer's own: nobody but the issuer needs it
		t.LastNotAfter = max(t.LastNotAfter, c.NotAfter)
	}
}

// settle ends the intent of a certificate: it becomes one that people look for.
func (x *tx) settle(c *lifecycle.Certificate) {
	serial := serialKey(c.Serial)
	x.closeIntent(c)
	for _, name := range c.Names() {
		x.coldAdd(TableCertNames, name+"\x00"+serial, present)
	}
	x.coldAdd(TableCertRequesters, c.Requester+"\x00"+serial, present)
	x.coldAdd(TableCertExpiry, instantKey(c.NotAfter)+serial, []byte(kidMark(c.IssuerKID)))
	c.DeadlineAt, c.TokenID = 0, ""
	x.tally(c.IssuerKID).Intents--
}

// putIntents enters the certificates that this entry announced, all in one row: most of
// them are recorded together too.
func (x *tx) putIntents() {
	x.coldAdd(TableCertIntents, number(x.index), x.openIntents)
	x.openIntents = nil
}

// closeIntent takes a certificate out of the row of the entry that announced it.
func (x *tx) closeIntent(c *lifecycle.Certificate) {
	key := number(c.Index)
	row := x.coldGet(TableCertIntents, key)
	for at := 0; at+intentBytes <= len(row); at += intentBytes {
		if string(row[at:at+lifecycle.SerialBytes]) != serialKey(c.Serial) {
			continue
		}
		if len(row) == intentBytes {
			x.coldDrop(TableCertIntents, key)
		} else {
			x.coldPut(TableCertIntents, key, slices.Concat(row[:at], row[at+intentBytes:]))
		}
		return
	}
}

// withdraw puts a certificate on the CRL, or changes why it is there.
func (x *tx) withdraw(c *lifecycle.Certificate, r lifecycle.CertRevocation) {
	t := x.tally(c.IssuerKID)
	put := x.coldPut
	if c.Revocation == nil {
		put = x.coldAdd // it is not on the CRL
	}
	switch c.State {
	case lifecycle.CertIntent:
		x.settle(c)
		t.OnCRL++
	case lifecycle.CertIssued:
		t.OnCRL++
	case lifecycle.CertHeld:
		t.Held--
	}
	if r.Reason == lifecycle.CertificateHold {
		t.Held++
		c.State = lifecycle.CertHeld
	} else {
		if c.State != lifecycle.CertRevoked {
			t.Revoked++
		}
		c.State = lifecycle.CertRevoked
	}
	if old := c.Revocation; old != nil && old.Reason != lifecycle.CertificateHold {
		r.At, r.Unrecorded = old.At, old.Unrecorded // a graver reason does not make it valid up to now, nor given out
	}
	c.Revocation = &r
	t.RevokedIndex = x.index
	entry := lifecycle.EncodeCRLEntry(c.Serial, r.At, r.Reason, r.InvalidityAt)
	put(TableRevoked, kidBytes(c.IssuerKID)+serialKey(c.Serial), revokedRow(c.NotAfter, entry))
	x.putCertificate(c)
	x.followCertificate(c)
}

// followCertificate carries what became of a certificate of the cluster's own over to
// the row that rests on it.
func (x *tx) followCertificate(c *lifecycle.Certificate) {
	switch c.Profile {
	case lifecycle.ProfileCA:
		var found *lifecycle.CACert
		ascend(x.hot.freeze(), TableCACerts, "", func(ca *lifecycle.CACert) bool {
			if string(ca.Serial) == serialKey(c.Serial) {
				found = ca
			}
			return found == nil
		})
		if found != nil {
			row := *found
			row.Revocation = c.Revocation
			put(x, TableCACerts, instanceKey(row.Issuer, row.Version, row.Node), &row)
		}
	case lifecycle.ProfileOCSP:
		for _, r := range list[lifecycle.Responder](x.hot.freeze(), TableResponders, c.IssuerKID+"\x00") {
			if r.Serial == c.Serial && c.Revocation != nil {
				x.drop(TableResponders, responderKey(r.IssuerKID, r.Node))
			}
		}
	}
}

// maxSeparateLeaves is how many revocations of one entry have a leaf each; more share one.
const maxSeparateLeaves = 16

func (x *tx) revokeCertificates(c *command.RevokeCertificates) Outcome {
	groups, done := make([]GroupOutcome, len(c.Items)), make([]*lifecycle.Certificate, 0, len(c.Items))
	x.expect(2 * len(c.Items))
	for i := range c.Items {
		it := &c.Items[i]
		row, o := x.revocable(it)
		if !o.OK() {
			groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
			continue
		}
		x.revokeOne(row, it)
		done = append(done, row)
	}
	return x.withdrawn("cert.revoked", "", done, groups, c.Items[0].Serial)
}

// revokeOne does what was asked of a certificate that revocable found.
func (x *tx) revokeOne(row *lifecycle.Certificate, it *command.RevokeItem) {
	x.withdraw(row, lifecycle.CertRevocation{Reason: it.Reason, At: x.now(), By: x.head.Actor, InvalidityAt: it.InvalidityAt, Comment: it.Comment, Index: x.index})
}

// withdrawn ends an entry about many certificates: one outcome each, or a refusal when
// nothing came of any.
func (x *tx) withdrawn(kind, detail string, done []*lifecycle.Certificate, groups []GroupOutcome, first lifecycle.Serial) Outcome {
	if len(done) == 0 {
		return refuse(groups[0].Code, first.String(), "%s", groups[0].Detail)
	}
	x.putTallies()
	x.recordCertificates(kind, detail, done)
	o := Outcome{Key: done[0].Issuer, Groups: groups}
	if len(groups) == 1 {
		o.Subject = first.String()
	}
	return o
}

// recordCertificates writes the leaves: one for each certificate when there are few, or
// one for all with their serials.
func (x *tx) recordCertificates(kind, detail string, certs []*lifecycle.Certificate) {
	if len(certs) > maxSeparateLeaves {
		l := Leaf{Kind: kind, Detail: detail, Count: len(certs)}
		for _, c := range certs {
			l.Serials = append(l.Serials, c.Serial)
		}
		l.Digest = serialsDigest(len(certs), func(i int) (lifecycle.Serial, []byte) { return certs[i].Serial, []byte(certReason(certs[i])) })
		x.record(l)
		return
	}
	for _, c := range certs {
		x.recordCertificate(kind, detail, c)
	}
}

func (x *tx) recordCertificate(kind, detail string, c *lifecycle.Certificate) {
	l := Leaf{Kind: kind, Key: c.Issuer, KID: c.IssuerKID, Serials: []lifecycle.Serial{c.Serial}, Reason: certReason(c), Detail: detail, After: c.State.String()}
	if c.Revocation != nil && detail == "" {
		l.Detail = c.Revocation.Comment
	}
	x.record(l)
}

func certReason(c *lifecycle.Certificate) string {
	if c.Revocation == nil {
		return ""
	}
	return string(c.Revocation.Reason)
}

// revocable finds a certificate that can go on the CRL for the reason.
func (x *tx) revocable(it *command.RevokeItem) (*lifecycle.Certificate, Outcome) {
	c := x.certificate(it.Serial)
	name := it.Serial.String()
	switch {
	case c == nil:
		return nil, refuse(CertificateNotFound, name, "no certificate has this serial")
	case x.clock > c.NotAfter:
		return nil, refuse(CertificateExpired, name, "the certificate ended at %s by itself", c.NotAfter)
	case it.Reason == lifecycle.CertificateHold && c.State != lifecycle.CertIssued:
		return nil, refuse(CertificateRevoked, name, "the certificate is %s: only an issued one can be put on hold", c.State)
	case c.State == lifecycle.CertRevoked && (!it.Reason.IsCompromise() || c.Revocation.Reason.IsCompromise()):
		return nil, refuse(CertificateRevoked, name, "the certificate was revoked at %s (%s)", c.Revocation.At, c.Revocation.Reason)
	}
	return c, Outcome{}
}

func (x *tx) onCRL(c *lifecycle.Certificate) bool {
	return x.coldGet(TableRevoked, kidBytes(c.IssuerKID)+serialKey(c.Serial)) != nil
}

func (x *tx) releaseCertificates(c *command.ReleaseCertificates) Outcome {
	groups, done := make([]GroupOutcome, len(c.Serials)), make([]*lifecycle.Certificate, 0, len(c.Serials))
	for i, s := range c.Serials {
		row := x.certificate(s)
		switch {
		case row == nil:
			groups[i] = GroupOutcome{Code: CertificateNotFound, Detail: "no certificate has this serial"}
			continue
		case row.State != lifecycle.CertHeld:
			groups[i] = GroupOutcome{Code: CertificateNotHeld, Detail: "the certificate is " + row.State.String() + ": only a hold can be taken back"}
			continue
		}
		row.State, row.Revocation = lifecycle.CertIssued, nil
		x.coldDrop(TableRevoked, kidBytes(row.IssuerKID)+serialKey(s))
		t := x.tally(row.IssuerKID)
		t.Held--
		t.OnCRL--
		t.RevokedIndex = x.index
		x.putCertificate(row)
		x.followCertificate(row)
		done = append(done, row)
	}
	return x.withdrawn("cert.released", c.Comment, done, groups, c.Serials[0])
}

// ofCluster refuses what only the cluster itself proposes.
func (x *tx) ofCluster() Outcome {
	if x.head.Actor != systemActor {
		return refuse(Invalid, x.head.Actor, "only the cluster itself does that")
	}
	return Outcome{}
}

func (x *tx) abandonIntents(c *command.AbandonIntents) Outcome {
	if o := x.ofCluster(); !o.OK() {
		return o
	}
	const why = "announced and not recorded by its deadline: it may have been signed"
	groups, done := make([]GroupOutcome, len(c.Serials)), make([]*lifecycle.Certificate, 0, len(c.Serials))
	for i, s := range c.Serials {
		row := x.certificate(s)
		switch {
		case row == nil:
			groups[i] = GroupOutcome{Code: CertificateNotFound, Detail: "no certificate has this serial"}
		case row.State != lifecycle.CertIntent:
			groups[i] = GroupOutcome{Code: AlreadyExists, Detail: "the certificate is " + row.State.String()}
		case x.clock < row.DeadlineAt:
			groups[i] = GroupOutcome{Code: LeadNotPassed, Detail: "it may still be recorded until " + row.DeadlineAt.String()}
		default:
			x.withdraw(row, x.unrecorded(why))
			x.tally(row.IssuerKID).Abandoned++
			done = append(done, row)
		}
	}
	return x.withdrawn("cert.revoked", why, done, groups, c.Serials[0])
}

// unrecorded is the revocation of a certificate that was not given out.
func (x *tx) unrecorded(why string) lifecycle.CertRevocation {
	return lifecycle.CertRevocation{Reason: lifecycle.Unspecified, At: x.now(), By: systemActor, Comment: why, Index: x.index, Unrecorded: true}
}

// pruneRevoked takes certificates off their CRLs. RFC 5280 section 3.3: an entry stays
// until it stood on one regular CRL issued after the certificate ended.
func (x *tx) pruneRevoked(c *command.PruneRevoked) Outcome {
	if o := x.ofCluster(); !o.OK() {
		return o
	}
	var done []lifecycle.Serial
	for _, s := range c.Serials {
		row := x.certificate(s)
		if row == nil || !x.onCRL(row) || !x.prunable(row) {
			continue
		}
		x.coldDrop(TableRevoked, kidBytes(row.IssuerKID)+serialKey(s))
		x.tally(row.IssuerKID).OnCRL--
		done = append(done, s)
	}
	if len(done) == 0 {
		return refuse(AlreadyExists, c.Serials[0].String(), "none of the certificates can leave its CRL now")
	}
	x.putTallies()
	x.record(Leaf{Kind: "crl.pruned", Count: len(done), Digest: serialsDigest(len(done), func(i int) (lifecycle.Serial, []byte) { return done[i], nil })})
	return Outcome{}
}

func (x *tx) prunable(c *lifecycle.Certificate) bool {
	is := x.issuer(c.Issuer)
	crl := get[lifecycle.CRLState](x, TableCRLs, crlKey(c.IssuerKID, 0))
	return is != nil && crl != nil && crl.ThisUpdate > c.NotAfter && x.clock > c.NotAfter.Add(is.CRLEvery)
}

// serialsDigest is what a leaf says of items: hex SHA-256 over serial and bytes of each.
func serialsDigest(n int, item func(i int) (lifecycle.Serial, []byte)) string {
	h := sha256.New()
	for i := range n {
		serial, b := item(i)
		h.Write(serial[:])
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}
