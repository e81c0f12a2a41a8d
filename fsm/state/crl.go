package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// allocateCRL gives out the next number of a CRL before it is signed. A repeat for the
// same bytes is answered as the first was: the node may sign those again, and no others.
func (x *tx) allocateCRL(c *command.AllocateCRL) Outcome {
	holder := x.holder(c.KID)
	if holder == nil || holder.Node != c.Node {
		return refuse(InstanceNotHere, c.KID, "node %s has no instance with this kid", c.Node.Short())
	}
	is := x.issuer(holder.Key)
	if is == nil {
		return refuse(IssuerNotFound, string(holder.Key), "no such issuer")
	}
	name := subject(holder.Key, holder.Version)
	if o := x.mayUphold(x.node(c.Node), holder.Key, holder.Version, c.KID); !o.OK() {
		return o
	}
	done := Outcome{Subject: name, Key: holder.Key, Versions: []uint64{holder.Version}}
	var last lifecycle.CRLState
	if old := get[lifecycle.CRLState](x, TableCRLs, crlKey(c.KID, c.Shard)); old != nil {
		last = *old
	}
	switch {
	case c.Number == last.Number && bytes.Equal(c.TBSHash, last.TBSHash):
		return done
	case c.Number != last.Number+1:
		return refuse(Conflict, name, "the next CRL number is %d, not %d", last.Number+1, c.Number)
	case c.ThisUpdate < last.ThisUpdate || c.AtIndex < last.AtIndex:
		return refuse(Conflict, name, "CRL %d is of %s and of a later state", last.Number, last.ThisUpdate)
	case c.ThisUpdate > x.clock.Add(MaxClockStep):
		return refuse(ClockAhead, name, "the CRL is of %s and it is %s: set the clock of the node", c.ThisUpdate, x.clock)
	case c.AtIndex >= x.index:
		return refuse(Invalid, name, "the CRL claims to be of entry %d, which this one precedes", c.AtIndex)
	case c.Shard > 0 && !is.ShardCRL:
		return refuse(Invalid, name, "the issuer's CRL has no shards")
	}
	put(x, TableCRLs, crlKey(c.KID, c.Shard), &lifecycle.CRLState{Issuer: holder.Key, KID: c.KID, Shard: c.Shard, Number: c.Number, TBSHash: c.TBSHash,
		ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate, Entries: c.Entries, AtIndex: c.AtIndex, AllocatedAt: x.now()})
	l := Leaf{Kind: "crl.allocated", Key: holder.Key, Version: holder.Version, KID: c.KID, Node: c.Node, Detail: "number " + strconv.FormatUint(c.Number, 10),
		Count: int(c.Entries), Digest: hex.EncodeToString(c.TBSHash)}
	if c.Shard > 0 {
		l.Detail += " of shard " + strconv.FormatUint(c.Shard, 10)
	}
	x.record(l)
	return done
}

func (x *tx) announceResponder(c *command.AnnounceResponder) Outcome {
	old, o := x.member(c.Node)
	if !o.OK() {
		return o
	}
	if bytes.Equal(old.ResponderKey, c.SPKI) {
		return Outcome{Subject: old.Name}
	}
	n := *old
	n.ResponderKey = c.SPKI
	x.putNode(n)
	sum := sha256.Sum256(c.SPKI)
	x.record(Leaf{Kind: "responder.announced", Node: c.Node, Digest: hex.EncodeToString(sum[:])})
	return Outcome{Subject: n.Name}
}

func (x *tx) bindResponder(c *command.BindResponder) Outcome {
	node, o := x.member(c.Node)
	if !o.OK() {
		return o
	}
	name := c.Serial.String()
	cert, der := x.certificate(c.Serial), x.coldGet(TableCertDERs, serialKey(c.Serial))
	key := sha256.Sum256(node.ResponderKey)
	switch {
	case cert == nil || der == nil || cert.Profile != lifecycle.ProfileOCSP:
		return refuse(CertificateNotFound, name, "no OCSP responder certificate has this serial")
	case cert.State != lifecycle.CertIssued:
		return refuse(CertificateRevoked, name, "the certificate is %s", cert.State)
	case x.clock > cert.NotAfter:
		return refuse(CertificateExpired, name, "the certificate ended at %s", cert.NotAfter)
	case !bytes.Equal(cert.SPKIHash, key[:]):
		return refuse(Invalid, name, "the certificate is for another key than the one that node %s announced", node.Name)
	}
	old := get[lifecycle.Responder](x, TableResponders, responderKey(cert.IssuerKID, c.Node))
	switch {
	case old != nil && old.Serial == c.Serial:
		return Outcome{Subject: name}
	case old != nil && bytes.Equal(old.SPKIHash, cert.SPKIHash) && old.NotAfter >= cert.NotAfter:
		return refuse(AlreadyExists, name, "node %s has a responder certificate until %s", node.Name, old.NotAfter)
	}
	put(x, TableResponders, responderKey(cert.IssuerKID, c.Node), &lifecycle.Responder{IssuerKID: cert.IssuerKID, Node: c.Node, SPKIHash: cert.SPKIHash,
		Serial: c.Serial, DER: bytes.Clone(der), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, BoundAt: x.now()})
	x.record(Leaf{Kind: "responder.bound", Key: cert.Issuer, KID: cert.IssuerKID, Node: c.Node, Serials: []lifecycle.Serial{c.Serial}})
	return Outcome{Subject: name}
}
