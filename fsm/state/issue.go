package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Issuing is two entries. IssueIntents comes before the signature: from then on the
// certificate counts as possibly issued. It leaves no leaf, for nothing has happened yet. RecordIssued comes after it and before anybody
// gets the certificate. Both look at the whole right to issue, so a right that ended in
// between has ended for the certificate too: it is kept, because it exists, and revoked
// in the same entry, because nobody was given it. No certificate that was given out
// stands behind the end of its right in the log.

const (
	// MaxIntentLife is how long a certificate may be announced: longer than any HSM
	// takes, short enough that one that was lost is on the CRL soon.
	MaxIntentLife = lifecycle.Hour
	// maxSerialSkew is how far the time in a serial may lie from Clock.
	maxSerialSkew = lifecycle.Day
)

func (x *tx) issueIntents(c *command.IssueIntents) Outcome {
	x.expect(4 * len(c.Items))
	groups, done := x.announceAll(c)
	x.endAnnouncing(done)
	return Outcome{Groups: groups}
}

// endAnnouncing ends an entry that announced so many certificates.
func (x *tx) endAnnouncing(n int) {
	if n > 0 {
		x.putIntents()
		x.putTallies()
		x.evict(TableCertRequests, evictPerEntry*n, requestKeyTime)
	}
}

// announceAll judges what a node announces, one by one, and counts what was accepted.
func (x *tx) announceAll(c *command.IssueIntents) (groups []GroupOutcome, done int) {
	node := x.node(c.Node)
	groups = make([]GroupOutcome, len(c.Items))
	for i := range c.Items {
		it := &c.Items[i]
		if o := x.mayAnnounce(node, it); !o.OK() {
			groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
			continue
		}
		x.announce(&lifecycle.Certificate{Serial: it.Serial, Issuer: it.Issuer, IssuerKID: it.KID, Profile: it.Profile, ProfileHash: it.ProfileHash,
			TBSHash: it.TBSHash, State: lifecycle.CertIntent, Subject: it.Subject, DNS: it.DNS, IPs: it.IPs, URIs: it.URIs, Emails: it.Emails,
			NotBefore: it.NotBefore, NotAfter: it.NotAfter, Requester: it.Requester, RequestID: it.RequestID, SPKIHash: it.SPKIHash,
			IntentAt: x.now(), DeadlineAt: it.DeadlineAt, Replaces: it.Replaces, TokenID: it.TokenID, ByReplaced: it.ByCertificate,
			Index: x.index})
		x.rememberIssue(it)
		done++
	}
	return groups, done
}

// rememberIssue lets a repeat of the request find its certificate.
func (x *tx) rememberIssue(it *command.IssueItem) {
	if it.RequestID != "" {
		x.coldPut(TableCertRequests, requestKey(it.Requester, it.RequestID), append(it.Serial[:], it.RequestDigest...))
	}
}

// mayAnnounce judges one certificate that is about to be signed.
func (x *tx) mayAnnounce(node *lifecycle.Node, it *command.IssueItem) Outcome {
	is := x.issuer(it.Issuer)
	if is == nil {
		return refuse(IssuerNotFound, string(it.Issuer), "no such issuer")
	}
	name := it.Serial.String()
	if skew := it.Serial.At() - x.clock; skew > lifecycle.Instant(maxSerialSkew) || -skew > lifecycle.Instant(maxSerialSkew) {
		return refuse(ClockAhead, name, "the serial is of %s and it is %s: set the clock of the node", it.Serial.At(), x.clock)
	}
	if x.coldGet(TableCertificates, serialKey(it.Serial)) != nil {
		return refuse(AlreadyExists, name, "a certificate has this serial")
	}
	if it.DeadlineAt <= x.clock || it.DeadlineAt > x.clock.Add(MaxIntentLife) {
		return refuse(Invalid, name, "it would have to be recorded by %s: allowed are %s from now", it.DeadlineAt, MaxIntentLife)
	}
	if o := x.requestedBefore(it); !o.OK() {
		return o
	}
	if o := x.fitsProfile(is, it); !o.OK() {
		return o
	}
	if o := x.fitsCA(is, it); !o.OK() {
		return o
	}
	if o := x.ownKey(it); !o.OK() {
		return o
	}
	return x.mayIssue(node, it.Version, &lifecycle.Certificate{Serial: it.Serial, Issuer: it.Issuer, IssuerKID: it.KID, Profile: it.Profile,
		Requester: it.Requester, TokenID: it.TokenID, Replaces: it.Replaces, ByReplaced: it.ByCertificate})
}

// requestedBefore refuses a second certificate for one request, unless the first was
// never given out: its right ended while it was signed, or it was lost on the way.
func (x *tx) requestedBefore(it *command.IssueItem) Outcome {
	if it.RequestID == "" {
		return Outcome{}
	}
	at, err := command.RequestTime(it.RequestID)
	switch {
	case err != nil:
		return refuse(Invalid, it.RequestID, "%v", err)
	case at < x.clock.Add(-OperationsKept), at > x.clock.Add(maxRequestAhead):
		return refuse(StaleRequestID, it.RequestID, "the request id is of %s and it is %s: use a new one", at, x.clock)
	}
	b := x.coldGet(TableCertRequests, requestKey(it.Requester, it.RequestID))
	if b == nil {
		return Outcome{}
	}
	serial, digest := parseRequest(b)
	if !bytes.Equal(digest, it.RequestDigest) {
		return refuse(RequestIDReused, it.RequestID, "this request id was used for another certificate: use a new one")
	}
	if c := x.certificate(serial); c != nil && c.Revocation != nil && c.Revocation.Unrecorded {
		return Outcome{}
	}
	return refuse(AlreadyExists, it.RequestID, "the request has the certificate %s", serial)
}

func parseRequest(b []byte) (serial lifecycle.Serial, digest []byte) {
	if len(b) < len(serial) {
		return serial, nil
	}
	return lifecycle.Serial(b[:len(serial)]), b[len(serial):]
}

// fitsProfile compares with the profile as it is set now. Built-in ones the state does
// not know: their hash is what is remembered of them.
func (x *tx) fitsProfile(is *lifecycle.Issuer, it *command.IssueItem) Outcome {
	name := it.Serial.String()
	if p := x.profile(it.Profile); p != nil && !bytes.Equal(p.Hash, it.ProfileHash) {
		return refuse(Conflict, name, "the profile %s was changed since the certificate was made", it.Profile)
	}
	ours := it.Profile == lifecycle.ProfileCA || it.Profile == lifecycle.ProfileOCSP
	switch {
	case ours != strings.HasPrefix(it.Requester, nodeActor):
		return refuse(Denied, name, "%s may not have a certificate of the profile %s", it.Requester, it.Profile)
	case it.Profile == lifecycle.ProfileCA && is.PathLen == 0:
		return refuse(Invalid, name, "the path length of %s is 0: no CA certificate may follow", is.Name)
	}
	return Outcome{}
}

// nodeActor stands before the name of a node that asks for a certificate of the cluster's
// own making.
const nodeActor = "node:"

// fitsCA keeps the certificate within the life of the CA certificate above it.
func (x *tx) fitsCA(is *lifecycle.Issuer, it *command.IssueItem) Outcome {
	name := it.Serial.String()
	holder := x.holder(it.KID)
	if holder == nil || holder.Key != is.Name || holder.Version != it.Version {
		return refuse(InstanceNotHere, name, "no instance of %s has the kid %s", subject(is.Name, it.Version), it.KID)
	}
	ca := x.caCert(holder.Key, holder.Version, holder.Node)
	switch {
	case ca == nil:
		return refuse(NoCACertificate, name, "the instance has no CA certificate yet")
	case it.NotAfter > ca.NotAfter:
		return refuse(OutlivesCA, name, "it would end at %s, after its CA certificate at %s", it.NotAfter, ca.NotAfter)
	case it.NotBefore < ca.NotBefore:
		return refuse(OutlivesCA, name, "it would begin at %s, before its CA certificate at %s", it.NotBefore, ca.NotBefore)
	case it.NotAfter <= x.clock:
		return refuse(CertificateExpired, name, "it would have ended at %s already", it.NotAfter)
	}
	return Outcome{}
}

// ownKey refuses a public key that was certified for another requester: one of the two
// cannot be its only holder.
func (x *tx) ownKey(it *command.IssueItem) Outcome {
	if it.Profile == lifecycle.ProfileCA || it.Profile == lifecycle.ProfileOCSP {
		return Outcome{}
	}
	if owner := x.keyOwner(it.SPKIHash); owner != "" && owner != it.Requester {
		return refuse(KeyReused, it.Serial.String(), "the public key was certified for somebody else: make a new key pair")
	}
	return Outcome{}
}

// keyOwner is the requester of the certificates for a public key, "" when there is none.
// All of them have the same, so the first tells.
func (x *tx) keyOwner(spkiHash []byte) (owner string) {
	if owner, ok := x.owners[string(spkiHash)]; ok {
		return owner
	}
	var first *lifecycle.Serial
	x.cold.Ascend(TableCertKeys, string(spkiHash), func(key string, _ []byte) bool {
		if strings.HasPrefix(key, string(spkiHash)) {
			s := serialAt(key)
			first = &s
		}
		return false
	})
	if held, ok := x.heldKeys[string(spkiHash)]; ok && (first == nil || bytes.Compare(held.serial[:], first[:]) < 0) {
		return held.requester
	}
	if first == nil {
		return ""
	}
	c := x.certificate(*first)
	if c == nil {
		panic(&Corruption{Index: x.index, Err: fmt.Errorf("the index of public keys names certificate %s, which is not there", *first)})
	}
	return c.Requester
}

// mayIssue is the whole right to issue a certificate, except that of its names: node,
// instance, CA certificate and requester, as they are at this entry.
func (x *tx) mayIssue(node *lifecycle.Node, version uint64, c *lifecycle.Certificate) Outcome {
	name := c.Serial.String()
	if node == nil {
		return refuse(NodeNotFound, name, "no node has this id")
	}
	if c.Profile == lifecycle.ProfileOCSP {
		if o := x.mayUphold(node, c.Issuer, version, c.IssuerKID); !o.OK() {
			return o
		}
	} else if o := x.mayUse(node, c.Issuer, version, c.IssuerKID); !o.OK() {
		return o
	}
	switch ca := x.caCert(c.Issuer, version, node.ID); {
	case ca == nil || ca.KID != c.IssuerKID:
		return refuse(NoCACertificate, name, "the instance of node %s has no CA certificate", node.Name)
	case ca.Revocation != nil:
		return refuse(NoCACertificate, name, "the CA certificate of node %s is on the CRL since %s (%s)", node.Name, ca.Revocation.At, ca.Revocation.Reason)
	case x.clock > ca.NotAfter:
		return refuse(NoCACertificate, name, "the CA certificate of node %s ended at %s", node.Name, ca.NotAfter)
	}
	return x.asks(c)
}

// mayUphold says whether the node may sign what certificates issued before depend on,
// CRLs and OCSP delegates: also when the version signs no new ones any more.
func (x *tx) mayUphold(node *lifecycle.Node, key lifecycle.KeyID, version uint64, kid string) Outcome {
	name := subject(key, version)
	if o := x.nodeSigns(node, key, name); !o.OK() {
		return o
	}
	_, v, o := x.find(key, version)
	if !o.OK() {
		return o
	}
	if !v.MayUphold() {
		return refuse(notActive(v), name, "the version is %s since %s", v.State, v.SinceAt)
	}
	if i := x.instance(key, version, node.ID); i == nil || i.KID != kid || !i.MayUphold(v) {
		return refuse(InstanceNotHere, name, "node %s cannot use its instance of this version", node.Name)
	}
	return Outcome{}
}

// asks checks who asked for the certificate.
func (x *tx) asks(c *lifecycle.Certificate) Outcome {
	switch {
	case strings.HasPrefix(c.Requester, nodeActor):
		return Outcome{} // the cluster itself; fitsProfile keeps it to its own profiles
	case c.ByReplaced:
		old := x.certificate(*c.Replaces)
		if old == nil || old.State != lifecycle.CertIssued || x.clock > old.NotAfter || old.Requester != c.Requester {
			return refuse(Denied, c.Requester, "the certificate %s, which asks to be renewed, is none of %s that is valid", *c.Replaces, c.Requester)
		}
		if p := get[lifecycle.Principal](x, TablePrincipals, c.Requester); p != nil && p.RevokedAt != 0 {
			return refuse(Denied, c.Requester, "the principal was revoked")
		}
		if k := x.key(c.Issuer); k == nil || !k.Policy.AllowsCaller(c.Requester) {
			return refuse(Denied, c.Requester, "the policy of %s does not name the principal among its callers", c.Issuer)
		}
		return Outcome{}
	}
	return x.calls(c.Requester, c.TokenID, c.Issuer)
}

func (x *tx) recordIssued(c *command.RecordIssued) Outcome {
	x.expect(7 * len(c.Items))
	groups := x.recordAll(c)
	x.putTallies()
	return Outcome{Groups: groups}
}

// recordAll judges what a node signed, one by one, and leaves the leaves.
func (x *tx) recordAll(c *command.RecordIssued) []GroupOutcome {
	node := x.node(c.Node)
	groups := make([]GroupOutcome, len(c.Items))
	var issued, late []*lifecycle.Certificate
	sums := make([][sha256.Size]byte, 0, len(c.Items))
	for i := range c.Items {
		it := &c.Items[i]
		row, o := x.signed(c.Node, it)
		if row == nil || row.State != lifecycle.CertIntent {
			groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
			continue
		}
		if o := x.mayIssue(node, x.holder(row.IssuerKID).Version, row); !o.OK() {
			x.withdraw(row, x.unrecorded("signed, and not given out: "+o.Detail))
			groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
			late = append(late, row)
			continue
		}
		x.enter(row)
		issued, sums = append(issued, row), append(sums, sha256.Sum256(it.DER))
	}
	if len(issued) > 0 {
		l := Leaf{Kind: "cert.issued", Node: c.Node, Count: len(issued),
			Digest: serialsDigest(len(issued), func(i int) (lifecycle.Serial, []byte) { return issued[i].Serial, sums[i][:] })}
		for _, row := range issued {
			l.Serials = append(l.Serials, row.Serial)
		}
		x.record(l)
	}
	x.recordCertificates("cert.revoked", "", late)
	return groups
}

// enter makes a signed certificate an issued one.
func (x *tx) enter(c *lifecycle.Certificate) {
	x.settle(c)
	c.State, c.IssuedAt, c.Index = lifecycle.CertIssued, x.now(), x.index
	t := x.tally(c.IssuerKID)
	t.Issued++
	t.IssuedIndex = x.index
	x.putCertificate(c)
	if c.Replaces == nil {
		return
	}
	if old := x.certificate(*c.Replaces); old != nil {
		old.ReplacedBy = &c.Serial
		x.putCertificate(old)
	}
}

// signed finds the intent of a certificate and keeps the certificate: from here on it is
// known. The row is nil when the bytes are not what was announced; its state is not
// CertIntent when there is nothing left to decide, and then the outcome says what a
// repeat is told.
func (x *tx) signed(node lifecycle.NodeID, it *command.IssuedItem) (*lifecycle.Certificate, Outcome) {
	name := it.Serial.String()
	c := x.certificate(it.Serial)
	if c == nil {
		return nil, refuse(CertificateNotFound, name, "no certificate with this serial was announced")
	}
	if holder := x.holder(c.IssuerKID); holder == nil || holder.Node != node {
		return nil, refuse(InstanceNotHere, name, "another node announced it")
	}
	facts, err := lifecycle.ReadCertificate(it.DER)
	if err != nil {
		return nil, refuse(Invalid, name, "%v", err)
	}
	if !matches(c, &facts) {
		return nil, refuse(TBSMismatch, name, "the certificate is not the one that was announced")
	}
	switch old := x.coldGet(TableCertDERs, serialKey(it.Serial)); {
	case old == nil:
		x.coldAdd(TableCertDERs, serialKey(it.Serial), it.DER)
	case !bytes.Equal(old, it.DER):
		return nil, refuse(AlreadyExists, name, "another certificate was recorded with this serial")
	}
	switch c.State {
	case lifecycle.CertIntent, lifecycle.CertIssued:
		return c, Outcome{}
	}
	return c, refuse(CertificateRevoked, name, "the certificate was revoked at %s (%s)", c.Revocation.At, c.Revocation.Reason)
}

// matches compares a certificate with what was announced.
func matches(c *lifecycle.Certificate, f *lifecycle.CertFacts) bool {
	tbs, spki := sha256.Sum256(f.TBS), sha256.Sum256(f.SPKI)
	return bytes.Equal(tbs[:], c.TBSHash) && bytes.Equal(spki[:], c.SPKIHash) && bytes.Equal(f.Serial, c.Serial[:]) &&
		f.NotBefore == c.NotBefore && f.NotAfter == c.NotAfter
}
