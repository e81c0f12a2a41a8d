package state

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (x *tx) issuer(name lifecycle.KeyID) *lifecycle.Issuer {
	return get[lifecycle.Issuer](x, TableIssuers, string(name))
}

func (x *tx) caCert(issuer lifecycle.KeyID, version uint64, node lifecycle.NodeID) *lifecycle.CACert {
	return get[lifecycle.CACert](x, TableCACerts, instanceKey(issuer, version, node))
}

func (x *tx) createIssuer(c *command.CreateIssuer) Outcome {
	if o := x.checkPathLen(c.Key.Name, c.Parent, c.Terms.PathLen); !o.OK() {
		return o
	}
	o := x.createKey(&c.Key)
	if !o.OK() {
		return o
	}
	put(x, TableIssuers, string(c.Key.Name), &lifecycle.Issuer{Name: c.Key.Name, Kind: c.Of, Parent: c.Parent, IssuerTerms: c.Terms, Created: x.origin()})
	x.record(Leaf{Kind: "issuer.created", Key: c.Key.Name, Detail: issuerDetail(c.Of, c.Parent, &c.Terms)})
	return o
}

func issuerDetail(kind lifecycle.IssuerKind, parent lifecycle.KeyID, t *lifecycle.IssuerTerms) string {
	d := fmt.Sprintf("%s, CN=%s, path length %d", kind, t.CommonName, t.PathLen)
	if parent != "" {
		d += ", under " + string(parent)
	}
	return d
}

// checkPathLen refuses an issuer whose CA certificates its parent could not sign.
func (x *tx) checkPathLen(name, parent lifecycle.KeyID, pathLen int) Outcome {
	if parent == "" {
		return Outcome{}
	}
	above := x.issuer(parent)
	switch {
	case above == nil:
		return refuse(IssuerNotFound, string(parent), "no such issuer to be the parent of %s", name)
	case above.PathLen <= pathLen:
		return refuse(Invalid, string(name), "its path length %d does not fit under %s, which has %d: at most %d CA certificates may follow", pathLen, parent, above.PathLen, above.PathLen-1)
	}
	return Outcome{}
}

func (x *tx) setIssuer(c *command.SetIssuer) Outcome {
	old := x.issuer(c.Issuer)
	if old == nil {
		return refuse(IssuerNotFound, string(c.Issuer), "no such issuer")
	}
	if o := x.checkPathLen(old.Name, old.Parent, c.Terms.PathLen); !o.OK() {
		return o
	}
	if below := x.deepest(old.Name); below >= c.Terms.PathLen && below >= 0 {
		return refuse(Invalid, string(c.Issuer), "an issuer under it has path length %d: its own must be greater", below)
	}
	row := *old
	row.IssuerTerms = c.Terms
	put(x, TableIssuers, string(row.Name), &row)
	x.record(Leaf{Kind: "issuer.changed", Key: row.Name, Detail: issuerDetail(row.Kind, row.Parent, &row.IssuerTerms)})
	return Outcome{Subject: string(row.Name), Key: row.Name}
}

// deepest is the longest path length among the issuers under one, -1 when there is none.
func (x *tx) deepest(parent lifecycle.KeyID) int {
	longest := -1
	ascend(x.hot.freeze(), TableIssuers, "", func(i *lifecycle.Issuer) bool {
		if i.Parent == parent {
			longest = max(longest, i.PathLen)
		}
		return true
	})
	return longest
}

// bindCACert enters the CA certificate of an instance, or a newer one for the same key.
func (x *tx) bindCACert(c *command.BindCACert) Outcome {
	is := x.issuer(c.Issuer)
	if is == nil {
		return refuse(IssuerNotFound, string(c.Issuer), "no such issuer")
	}
	_, v, i, o := x.held(c.Issuer, c.Version, c.Node)
	if !o.OK() {
		return o
	}
	name, done := subject(c.Issuer, c.Version), accepted(c.Issuer, c.Version)
	old := x.caCert(c.Issuer, c.Version, c.Node)
	same := old != nil && bytes.Equal(old.DER, c.DER)
	if same && slices.EqualFunc(old.Above, c.Above, bytes.Equal) {
		return done // somebody did not hear the first answer
	}
	facts, err := lifecycle.ReadCertificate(c.DER)
	switch {
	case err != nil:
		return refuse(Invalid, name, "%v", err)
	case i.Condition != lifecycle.Ready || v.Distrusts():
		return refuse(IllegalTransition, name, "the version is %s and the instance %s: it gets no CA certificate", v.State, i.Condition)
	case !bytes.Equal(facts.SPKI, i.SPKI):
		return refuse(Invalid, name, "the certificate is for another public key than the instance's")
	case facts.NotAfter <= x.clock:
		return refuse(CertificateExpired, name, "the certificate ended at %s", facts.NotAfter)
	case old != nil && old.Revocation != nil:
		return refuse(CertificateRevoked, name, "the CA certificate of this instance was revoked: make another version of the key")
	case old != nil && facts.NotAfter <= old.NotAfter && !(same && is.Kind == lifecycle.ExternalIssuer) && !x.view().Forsaken(old):
		return refuse(Invalid, name, "it has a CA certificate until %s, and this one ends at %s", old.NotAfter, facts.NotAfter)
	}
	row := &lifecycle.CACert{Issuer: c.Issuer, Version: c.Version, Node: c.Node, KID: i.KID, Subject: c.Subject, Serial: facts.Serial, DER: c.DER,
		NotBefore: facts.NotBefore, NotAfter: facts.NotAfter, BoundAt: x.now(), Above: c.Above}
	if o := x.signedBy(is, row, &facts); !o.OK() {
		return o
	}
	if other := x.sameSubject(row, &facts); other != nil {
		return refuse(AlreadyExists, name, "the CA certificate of %s has the same subject: verifiers would mix up their CRLs", subject(other.Issuer, other.Version))
	}
	put(x, TableCACerts, instanceKey(c.Issuer, c.Version, c.Node), row)
	x.record(Leaf{Kind: "issuer.certified", Key: c.Issuer, Version: c.Version, KID: i.KID, Node: c.Node, Detail: "CN=" + c.Subject + " until " + row.NotAfter.String()})
	return done
}

// signedBy finds who signed a CA certificate. One of our own issuers recorded it first.
func (x *tx) signedBy(is *lifecycle.Issuer, row *lifecycle.CACert, facts *lifecycle.CertFacts) Outcome {
	name := subject(row.Issuer, row.Version)
	switch is.Kind {
	case lifecycle.RootIssuer:
		if !bytes.Equal(facts.Issuer, facts.Subject) {
			return refuse(Invalid, name, "a root signs its own certificate, and this one names another issuer")
		}
		row.ParentKID = row.KID
	case lifecycle.IssuingIssuer:
		serial, ok := lifecycle.SerialOf(facts.Serial)
		cert := x.certificate(serial)
		if !ok || cert == nil || cert.Issuer != is.Parent || cert.Profile != lifecycle.ProfileCA || !bytes.Equal(x.coldGet(TableCertDERs, serialKey(serial)), row.DER) {
			return refuse(CertificateNotFound, name, "issuer %s has recorded no such CA certificate", is.Parent)
		}
		if cert.State != lifecycle.CertIssued {
			return refuse(CertificateRevoked, name, "the CA certificate %s is %s", serial, cert.State)
		}
		row.ParentKID = cert.IssuerKID
	}
	return x.above(is, row, facts)
}

// above follows the certificates that were brought along by their names. Those above our
// own issuers are known here.
func (x *tx) above(is *lifecycle.Issuer, row *lifecycle.CACert, facts *lifecycle.CertFacts) Outcome {
	name := subject(row.Issuer, row.Version)
	if len(row.Above) > 0 && is.Kind != lifecycle.ExternalIssuer {
		return refuse(Invalid, name, "the certificates above it are known here")
	}
	below := facts.Issuer
	for _, der := range row.Above {
		c, err := lifecycle.ReadCertificate(der)
		switch {
		case err != nil:
			return refuse(Invalid, name, "a certificate above it: %v", err)
		case !bytes.Equal(c.Subject, below):
			return refuse(Invalid, name, "the certificates above it are no chain: one has another subject than the one before names as its issuer")
		case c.NotAfter <= x.clock:
			return refuse(CertificateExpired, name, "a certificate above it ended at %s", c.NotAfter)
		}
		below = c.Issuer
	}
	return Outcome{}
}

// sameSubject finds another key's CA certificate with the same subject, nil when there
// is none.
func (x *tx) sameSubject(row *lifecycle.CACert, facts *lifecycle.CertFacts) (found *lifecycle.CACert) {
	ascend(x.hot.freeze(), TableCACerts, "", func(c *lifecycle.CACert) bool {
		theirs, err := lifecycle.ReadCertificate(c.DER)
		if err == nil && c.KID != row.KID && bytes.Equal(theirs.Subject, facts.Subject) {
			found = c
		}
		return found == nil
	})
	return found
}

func (x *tx) profile(name string) *lifecycle.Profile {
	if p := get[lifecycle.Profile](x, TableProfiles, name); p != nil && !p.Dropped {
		return p
	}
	return nil
}

func (x *tx) setProfile(c *command.SetProfile) Outcome {
	hash := command.ProfileHash(c.Name, &c.Terms)
	row := lifecycle.Profile{Name: c.Name, Version: 1, ProfileTerms: c.Terms, Hash: hash[:], Set: x.origin()}
	before := ""
	if old := get[lifecycle.Profile](x, TableProfiles, c.Name); old != nil {
		row.Version = old.Version + 1
		before = fmt.Sprint(old.Version)
	}
	put(x, TableProfiles, c.Name, &row)
	x.record(Leaf{Kind: "profile.set", Detail: c.Name, Before: before, After: fmt.Sprint(row.Version)})
	return Outcome{Subject: c.Name}
}

func (x *tx) dropProfile(c *command.DropProfile) Outcome {
	old := x.profile(c.Name)
	if old == nil {
		return refuse(ProfileNotFound, c.Name, "no profile of this name was set: what is built in cannot be dropped")
	}
	row := *old
	row.Dropped, row.Set = true, x.origin()
	put(x, TableProfiles, c.Name, &row)
	x.record(Leaf{Kind: "profile.dropped", Detail: c.Name, Before: fmt.Sprint(old.Version)})
	return Outcome{Subject: c.Name}
}
