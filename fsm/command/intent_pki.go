package command

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// newIssuer is an issuer below another one, and its key. Where its key pairs are made is
// planned.
func (in *intentLines) newIssuer(c *CreateIssuer) {
	k := &c.Key
	in.text("kind", string(c.Of))
	in.text("parent", string(c.Parent))
	in.setPolicy(&SetPolicy{Key: k.Name, Owner: k.Owner, Reason: k.Reason, ConfirmBy: k.ConfirmBy, Labels: k.Labels, Policy: k.Policy})
	in.text("purpose", string(k.Purpose))
	in.text("algorithm", string(k.Alg))
	in.number("bits", int64(k.Bits))
	in.text("custody", string(k.Custody))
	in.text("node", string(k.Node))
	in.issuer(&SetIssuer{Issuer: k.Name, Terms: c.Terms})
}

func (in *intentLines) issuer(c *SetIssuer) {
	t := &c.Terms
	in.text("issuer", string(c.Issuer))
	in.text("common-name", t.CommonName)
	in.text("organization", t.Organization)
	in.number("path-len", int64(t.PathLen))
	in.texts("permitted-dns", t.Names.PermittedDNS)
	in.texts("excluded-dns", t.Names.ExcludedDNS)
	in.texts("permitted-ip", t.Names.PermittedIPs)
	in.texts("excluded-ip", t.Names.ExcludedIPs)
	in.texts("permitted-email", t.Names.PermittedEmails)
	in.texts("excluded-email", t.Names.ExcludedEmails)
	in.texts("permitted-uri", t.Names.PermittedURIs)
	in.texts("excluded-uri", t.Names.ExcludedURIs)
	in.duration("ca-validity", t.CAValidity)
	in.duration("crl-every", t.CRLEvery)
	in.duration("crl-valid", t.CRLValid)
	in.duration("ocsp-valid", t.OCSPValid)
	in.flag("shard-crl", t.ShardCRL)
}

// caCertificate names a certificate by its digest, which openssl x509 -fingerprint -sha256
// shows too, with what people look for in it.
func (in *intentLines) caCertificate(c *BindCACert) {
	in.text("node", string(c.Node))
	in.text("subject", c.Subject)
	sum := sha256.Sum256(c.DER)
	in.text("certificate-sha256", hex.EncodeToString(sum[:]))
	if facts, err := lifecycle.ReadCertificate(c.DER); err == nil {
		in.text("serial", hex.EncodeToString(facts.Serial))
		in.text("certificate-until", facts.NotAfter.String())
	}
	for _, der := range c.Above {
		sum := sha256.Sum256(der)
		in.text("above-sha256", hex.EncodeToString(sum[:]))
	}
}

func (in *intentLines) profile(c *SetProfile) {
	t := &c.Terms
	in.text("profile", c.Name)
	in.texts("usage", t.Usage)
	in.texts("extended-usage", t.ExtendedUsage)
	in.texts("keys", t.Keys)
	in.duration("default-validity", t.DefaultValidity)
	in.duration("max-validity", t.MaxValidity)
	in.duration("backdate", t.Backdate)
	in.text("common-name", t.CommonName)
	for _, r := range t.Names {
		in.text("names", nameRule(&r))
	}
	in.flag("names-optional", t.NamesOptional)
	in.flag("no-revocation", t.NoRevocation)
	in.flag("ocsp-no-check", t.OCSPNoCheck)
}

// nameRule writes a rule in one line; quoted, because a name may have blanks.
func nameRule(r *lifecycle.NameRule) string {
	parts := []string{"of " + strconv.Quote(r.Requester)}
	for _, l := range []struct {
		kind string
		list []string
	}{{"dns", r.DNS}, {"ip", r.IPs}, {"uri", r.URIs}, {"email", r.Emails}} {
		for _, s := range l.list {
			parts = append(parts, l.kind+" "+strconv.Quote(s))
		}
	}
	return strings.Join(parts, " ")
}
