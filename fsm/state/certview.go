package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Reads of certificates go to the state file and may see newer rows than the View's
// position, never older ones.

// Issuer by name, nil when there is none; Issuers in name order.
func (v *View) Issuer(name lifecycle.KeyID) *lifecycle.Issuer {
	return viewGet[lifecycle.Issuer](v, TableIssuers, string(name))
}
func (v *View) Issuers() []*lifecycle.Issuer {
	return viewList[lifecycle.Issuer](v, TableIssuers, "")
}

// CACert of an instance, nil when it has none.
func (v *View) CACert(issuer lifecycle.KeyID, version uint64, node lifecycle.NodeID) *lifecycle.CACert {
	return viewGet[lifecycle.CACert](v, TableCACerts, instanceKey(issuer, version, node))
}

// CACerts of an issuer, by version and node; "" = of all issuers.
func (v *View) CACerts(issuer lifecycle.KeyID) []*lifecycle.CACert {
	if issuer == "" {
		return viewList[lifecycle.CACert](v, TableCACerts, "")
	}
	return viewList[lifecycle.CACert](v, TableCACerts, string(issuer)+"\x00")
}

// ListedUntil is how long an issuer's version is needed for the CRLs and OCSP answers about
// what its instances signed: up to the end of the last of it, or of the CA certificate,
// which no chain outlives. It is 0 for a key that is no issuer's, and when every CA
// certificate was revoked: then nobody believes what it says.
func (v *View) ListedUntil(key lifecycle.KeyID, version uint64) (until lifecycle.Instant) {
	for _, i := range v.Instances(key, version) {
		if ca := v.CACert(key, version, i.Node); ca != nil && ca.Revocation == nil {
			until = max(until, min(ca.NotAfter, v.CertTally(i.KID).LastNotAfter))
		}
	}
	return until
}

// Forsaken reports whether the CA certificate above one has fallen: what it certified is
// as good as before, and the parent's successor may certify it again.
func (v *View) Forsaken(ca *lifecycle.CACert) bool {
	above := v.CACertByKID(ca.ParentKID)
	if above == nil || above.KID == ca.KID {
		return false
	}
	ver := v.Version(above.Issuer, above.Version)
	return above.Revocation != nil || ver == nil || ver.Distrusts()
}

// CACompromise is when and why nothing that an instance has signed may be relied on: its CA
// certificate, its version or itself was revoked for a compromise. nil = not as far as is known.
// What is below another CA certificate that fell is as good as before, see Forsaken.
func (v *View) CACompromise(ca *lifecycle.CACert) *lifecycle.CertRevocation {
	if r := ca.Revocation; r != nil && r.Reason.IsCompromise() {
		return r
	}
	var of []*lifecycle.Revocation // the entry that makes it the CA certificate's too may not be there yet
	if ver := v.Version(ca.Issuer, ca.Version); ver != nil {
		of = append(of, ver.Revocation)
	}
	if i := v.Instance(ca.Issuer, ca.Version, ca.Node); i != nil {
		of = append(of, i.Revocation)
	}
	for _, r := range of {
		if r != nil && r.Reason.IsCompromise() {
			return &lifecycle.CertRevocation{Reason: r.Reason, At: r.At, By: r.By, Comment: r.Comment, Index: r.Index}
		}
	}
	return nil
}

// CACertByKID is the CA certificate of the instance with this kid, nil when there is
// none.
func (v *View) CACertByKID(kid string) *lifecycle.CACert {
	if r := viewGet[KIDRow](v, TableKIDs, kid); r != nil {
		return v.CACert(r.Key, r.Version, r.Node)
	}
	return nil
}

// Profile that was set under the name, nil when none is: a built-in one counts then.
func (v *View) Profile(name string) *lifecycle.Profile {
	if p := viewGet[lifecycle.Profile](v, TableProfiles, name); p != nil && !p.Dropped {
		return p
	}
	return nil
}

// Profiles that are set, in name order.
func (v *View) Profiles() []*lifecycle.Profile {
	return slices.DeleteFunc(viewList[lifecycle.Profile](v, TableProfiles, ""), func(p *lifecycle.Profile) bool { return p.Dropped })
}

// CRLState is the newest CRL of an instance that was allowed to be signed, nil before
// the first. Shard 0 is the full CRL.
func (v *View) CRLState(kid string, shard uint64) *lifecycle.CRLState {
	return viewGet[lifecycle.CRLState](v, TableCRLs, crlKey(kid, shard))
}

// Responder by which a node answers for an instance of an issuer, nil when there is none.
func (v *View) Responder(issuerKID string, node lifecycle.NodeID) *lifecycle.Responder {
	return viewGet[lifecycle.Responder](v, TableResponders, responderKey(issuerKID, node))
}

// Responders of an instance of an issuer, in node order; "" = of all.
func (v *View) Responders(issuerKID string) []*lifecycle.Responder {
	if issuerKID == "" {
		return viewList[lifecycle.Responder](v, TableResponders, "")
	}
	return viewList[lifecycle.Responder](v, TableResponders, issuerKID+"\x00")
}

// CertTally counts the certificates of an instance. It is never nil.
func (v *View) CertTally(kid string) *lifecycle.CertTally {
	if t := viewGet[lifecycle.CertTally](v, TableTallies, kid); t != nil {
		return t
	}
	return &lifecycle.CertTally{KID: kid}
}

// CertTallies of all instances that announced a certificate, in kid order.
func (v *View) CertTallies() []*lifecycle.CertTally {
	return viewList[lifecycle.CertTally](v, TableTallies, "")
}

// Certificate by serial, nil when there is none.
func (v *View) Certificate(s lifecycle.Serial) (c *lifecycle.Certificate, err error) {
	err = v.cold(func(r Reader) error {
		c, err = v.readCertificate(r, s)
		return err
	})
	return c, err
}

// CertificatesOf are the certificates with these serials, in their order, of one state; nil
// stands for one that there is not.
func (v *View) CertificatesOf(serials []lifecycle.Serial) (found []*lifecycle.Certificate, err error) {
	found = make([]*lifecycle.Certificate, len(serials))
	err = v.cold(func(r Reader) error {
		for i, s := range serials {
			if found[i], err = v.readCertificate(r, s); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// CertificateDER is the certificate itself, nil when there is none or it was announced
// and not recorded.
func (v *View) CertificateDER(s lifecycle.Serial) (der []byte, err error) {
	err = v.cold(func(r Reader) error {
		der = bytes.Clone(r.Get(TableCertDERs, serialKey(s)))
		return nil
	})
	return der, err
}

func (v *View) readCertificate(r Reader, s lifecycle.Serial) (*lifecycle.Certificate, error) {
	b := r.Get(TableCertificates, serialKey(s))
	if b == nil {
		return nil, nil
	}
	c := new(lifecycle.Certificate)
	if err := command.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", s, err)
	}
	if h := viewGet[KIDRow](v, TableKIDs, c.IssuerKID); h != nil {
		c.Version, c.Node = h.Version, h.Node
	}
	return c, nil
}

// RequestedCertificate finds what a request to issue came to, by who asked and the
// request's id. ok is false when the request is not remembered. The digest is that of
// the request as it was asked: another one under the same id is another request.
func (v *View) RequestedCertificate(requester, id string) (s lifecycle.Serial, digest []byte, ok bool, err error) {
	err = v.cold(func(r Reader) error {
		if b := r.Get(TableCertRequests, requestKey(requester, id)); b != nil {
			s, digest = parseRequest(bytes.Clone(b))
			ok = true
		}
		return nil
	})
	return s, digest, ok, err
}

// RevokedEntry is a certificate on a CRL.
type RevokedEntry struct {
	Serial   lifecycle.Serial
	NotAfter lifecycle.Instant
	DER      []byte // the element of revokedCertificates; valid during the call
}

// EachRevoked calls fn for each certificate on the CRL of an instance, in serial order,
// until fn returns false. All of them are of one state, that after the entry index.
func (v *View) EachRevoked(kid string, fn func(RevokedEntry) bool) (index uint64, err error) {
	prefix, ok := kidRaw(kid)
	if !ok {
		return v.Position().Index, nil
	}
	err = v.cold(func(r Reader) error {
		m, _, err := loadMeta(r)
		if err != nil {
			return fmt.Errorf("read revoked certificates: %w", err)
		}
		index = m.Index
		r.Ascend(TableRevoked, prefix, func(key string, b []byte) bool {
			if !strings.HasPrefix(key, prefix) {
				return false
			}
			e := RevokedEntry{Serial: serialAt(key)}
			e.NotAfter, e.DER = parseRevokedRow(b)
			return fn(e)
		})
		return nil
	})
	return index, err
}

// Prunable lists up to limit certificates that may leave the CRL of an instance now:
// they have ended, and stood on a CRL after that.
func (v *View) Prunable(kid string, limit int) (out []lifecycle.Serial, err error) {
	ca, crl := v.CACertByKID(kid), v.CRLState(kid, 0)
	if ca == nil || crl == nil {
		return nil, nil
	}
	is := v.Issuer(ca.Issuer)
	if is == nil {
		return nil, nil
	}
	_, err = v.EachRevoked(kid, func(e RevokedEntry) bool {
		if crl.ThisUpdate > e.NotAfter && v.Clock() > e.NotAfter.Add(is.CRLEvery) {
			out = append(out, e.Serial)
		}
		return len(out) < limit
	})
	return out, err
}

// DueIntents lists up to limit certificates, in serial order, that were announced and
// not recorded by their deadline at an instant. It looks at all that are open.
func (v *View) DueIntents(at lifecycle.Instant, limit int) (out []lifecycle.Serial, err error) {
	err = v.cold(func(r Reader) error {
		r.Ascend(TableCertIntents, "", func(_ string, b []byte) bool {
			for ; len(b) >= intentBytes && len(out) < limit; b = b[intentBytes:] {
				if deadline := binary.BigEndian.Uint64(b[lifecycle.SerialBytes:]); lifecycle.Instant(deadline) <= at {
					out = append(out, lifecycle.Serial(b[:lifecycle.SerialBytes]))
				}
			}
			return len(out) < limit
		})
		return nil
	})
	slices.SortFunc(out, func(a, b lifecycle.Serial) int { return bytes.Compare(a[:], b[:]) })
	return out, err
}
