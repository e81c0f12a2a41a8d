package command

import (
	"bytes"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// IssueItem is one certificate that a node is about to sign.
type IssueItem struct {
	Serial        lifecycle.Serial  `cbor:"1,keyasint"`
	Issuer        lifecycle.KeyID   `cbor:"2,keyasint"`
	Version       uint64            `cbor:"3,keyasint"`
	KID           string            `cbor:"4,keyasint"` // of the node's instance of Version
	Profile       string            `cbor:"5,keyasint"`
	ProfileHash   []byte            `cbor:"6,keyasint"`
	TBSHash       []byte            `cbor:"7,keyasint"`
	SPKIHash      []byte            `cbor:"8,keyasint"`
	Subject       string            `cbor:"9,keyasint,omitempty"` // common name
	DNS           []string          `cbor:"10,keyasint,omitempty"`
	IPs           []string          `cbor:"11,keyasint,omitempty"`
	URIs          []string          `cbor:"12,keyasint,omitempty"`
	Emails        []string          `cbor:"13,keyasint,omitempty"`
	NotBefore     lifecycle.Instant `cbor:"14,keyasint"`
	NotAfter      lifecycle.Instant `cbor:"15,keyasint"`
	DeadlineAt    lifecycle.Instant `cbor:"16,keyasint"` // not recorded by then: counts as issued and is revoked
	Requester     string            `cbor:"17,keyasint"` // principal, or "node:<name>" for the cluster's own certificates
	TokenID       string            `cbor:"18,keyasint,omitempty"`
	RequestID     string            `cbor:"19,keyasint,omitempty"`
	RequestDigest []byte            `cbor:"20,keyasint,omitempty"`
	Replaces      *lifecycle.Serial `cbor:"21,keyasint,omitempty"` // renews this one
	ByCertificate bool              `cbor:"22,keyasint,omitempty"` // whoever holds the key of Replaces asks, and no principal
}

func (it *IssueItem) check() error {
	if err := checkSerial(it.Serial); err != nil {
		return err
	}
	if err := checkVersion(it.Issuer, it.Version); err != nil {
		return err
	}
	if err := checkKID(it.KID); err != nil {
		return err
	}
	if err := lifecycle.CheckName("profile", it.Profile); err != nil {
		return err
	}
	for _, h := range []struct {
		what string
		b    []byte
	}{{"profile hash", it.ProfileHash}, {"TBS hash", it.TBSHash}, {"SPKI hash", it.SPKIHash}} {
		if err := hash(h.what, h.b); err != nil {
			return err
		}
	}
	if len(it.Subject) > lifecycle.MaxNameTextBytes || !lifecycle.Printable(it.Subject) {
		return fmt.Errorf("a common name of %d bytes is too long or has a control character", len(it.Subject))
	}
	for _, l := range []struct {
		what string
		list []string
	}{{"dns name", it.DNS}, {"ip address", it.IPs}, {"uri", it.URIs}, {"email address", it.Emails}} {
		if err := lifecycle.CheckNames(l.what, l.list); err != nil {
			return err
		}
	}
	if it.NotBefore <= 0 || it.NotAfter <= it.NotBefore || it.NotAfter > MaxInstant || it.DeadlineAt <= 0 || it.DeadlineAt > MaxInstant {
		return fmt.Errorf("a certificate from %s to %s, recorded by %s", it.NotBefore, it.NotAfter, it.DeadlineAt)
	}
	if it.NotBefore%lifecycle.Instant(lifecycle.Second) != 0 || it.NotAfter%lifecycle.Instant(lifecycle.Second) != 0 {
		return fmt.Errorf("a certificate from %s to %s: its times are in whole seconds", it.NotBefore, it.NotAfter)
	}
	return it.checkCaller()
}

func (it *IssueItem) checkCaller() error {
	if err := size("requester", len(it.Requester), 1, MaxSignerBytes); err != nil {
		return err
	}
	if err := printable("requester", it.Requester); err != nil {
		return err
	}
	if it.TokenID != "" {
		if err := tokenID(it.TokenID); err != nil {
			return err
		}
	}
	if it.Replaces != nil {
		if err := checkSerial(*it.Replaces); err != nil {
			return err
		}
	}
	if it.ByCertificate && (it.Replaces == nil || it.TokenID != "") {
		return fmt.Errorf("only the certificate that is renewed can ask in a principal's stead")
	}
	if it.RequestID == "" {
		return nil
	}
	if _, err := RequestTime(it.RequestID); err != nil {
		return err
	}
	return hash("request digest", it.RequestDigest)
}

// IssueIntents writes down what is about to be signed, before it is: serial, TBS hash
// and profile of each certificate, judged one by one. From here on it counts as possibly
// issued. It is a node's verb and carries no request id of its own: the requests are
// those of the items.
type IssueIntents struct {
	Node  lifecycle.NodeID `cbor:"1,keyasint"` // whose instances will sign
	Items []IssueItem      `cbor:"2,keyasint"`
}

func (*IssueIntents) Kind() Kind { return KindIssueIntents }

func (c *IssueIntents) Check() error {
	if err := lifecycle.CheckNodeID(c.Node); err != nil {
		return err
	}
	if len(c.Items) == 0 {
		return fmt.Errorf("no certificate is announced")
	}
	if err := count("certificates", len(c.Items), MaxIssueItems); err != nil {
		return err
	}
	for i := range c.Items {
		if err := c.Items[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// IssuedItem is a certificate that was signed.
type IssuedItem struct {
	Serial lifecycle.Serial `cbor:"1,keyasint"`
	DER    []byte           `cbor:"2,keyasint"`
}

// RecordIssued writes signed certificates down before they are given out, each only if
// the right to sign it still stands in this very entry. One whose right has ended is
// kept and revoked, and not given out. It is a node's verb without a request id, and may
// be repeated.
type RecordIssued struct {
	Node  lifecycle.NodeID `cbor:"1,keyasint"` // whose instances signed
	Items []IssuedItem     `cbor:"2,keyasint"`
}

func (*RecordIssued) Kind() Kind { return KindRecordIssued }

func (c *RecordIssued) Check() error {
	if err := lifecycle.CheckNodeID(c.Node); err != nil {
		return err
	}
	if len(c.Items) == 0 {
		return fmt.Errorf("no certificate is recorded")
	}
	if err := count("certificates", len(c.Items), MaxIssueItems); err != nil {
		return err
	}
	for i := range c.Items {
		if err := checkSerial(c.Items[i].Serial); err != nil {
			return err
		}
		if err := checkCertificate(c.Items[i].DER); err != nil {
			return err
		}
	}
	return nil
}

// RevokeItem is one certificate to put on its CRL.
type RevokeItem struct {
	Serial       lifecycle.Serial  `cbor:"1,keyasint"`
	Reason       lifecycle.Reason  `cbor:"2,keyasint"`
	InvalidityAt lifecycle.Instant `cbor:"3,keyasint,omitempty"` // since when the key may have been known; 0 = nothing is said
	Comment      string            `cbor:"4,keyasint,omitempty"`
}

func (it *RevokeItem) check() error {
	if err := checkSerial(it.Serial); err != nil {
		return err
	}
	if _, err := lifecycle.ParseReason(string(it.Reason)); err != nil {
		return err
	}
	if it.InvalidityAt < 0 || it.InvalidityAt > MaxInstant {
		return fmt.Errorf("invalidity date %s is no wall time", it.InvalidityAt)
	}
	return text("comment", it.Comment, false)
}

// RevokeCertificates puts certificates on their CRLs, each judged by itself; it is
// refused as a whole when none can be.
type RevokeCertificates struct {
	Items []RevokeItem `cbor:"1,keyasint"` // ascending by serial
}

func (*RevokeCertificates) Kind() Kind { return KindRevokeCertificates }

func (c *RevokeCertificates) Check() error {
	if len(c.Items) == 0 {
		return fmt.Errorf("no certificate is named")
	}
	if err := count("certificates", len(c.Items), MaxRevokeItems); err != nil {
		return err
	}
	for i := range c.Items {
		if err := c.Items[i].check(); err != nil {
			return err
		}
		if i > 0 && bytes.Compare(c.Items[i-1].Serial[:], c.Items[i].Serial[:]) >= 0 {
			return errSerials
		}
	}
	return nil
}

// ReleaseCertificates takes certificates on hold off their CRLs.
type ReleaseCertificates struct {
	Serials []lifecycle.Serial `cbor:"1,keyasint"`
	Comment string             `cbor:"2,keyasint,omitempty"`
}

func (*ReleaseCertificates) Kind() Kind { return KindReleaseCertificates }

func (c *ReleaseCertificates) Check() error {
	if err := text("comment", c.Comment, false); err != nil {
		return err
	}
	return checkSerials(c.Serials)
}

// AbandonIntents revokes certificates that were announced and not recorded by their
// deadline: they may have been signed. Only the cluster itself proposes it.
type AbandonIntents struct {
	Serials []lifecycle.Serial `cbor:"1,keyasint"`
}

func (*AbandonIntents) Kind() Kind     { return KindAbandonIntents }
func (c *AbandonIntents) Check() error { return checkSerials(c.Serials) }

// PruneRevoked takes certificates off their CRLs that have expired and stood on one CRL
// after that. Only the cluster itself proposes it.
type PruneRevoked struct {
	Serials []lifecycle.Serial `cbor:"1,keyasint"`
}

func (*PruneRevoked) Kind() Kind     { return KindPruneRevoked }
func (c *PruneRevoked) Check() error { return checkSerials(c.Serials) }

// WarnExpiring makes known that certificates end soon and have no successor. The order in
// which certificates end is gone through once: each entry goes on where the last one
// stopped, so nobody is told twice, whoever leads. Only the cluster itself proposes it.
type WarnExpiring struct {
	From    lifecycle.CertMark `cbor:"1,keyasint"` // where the last one stopped; zero = there was none
	To      lifecycle.CertMark `cbor:"2,keyasint"` // where this one stops
	Serials []lifecycle.Serial `cbor:"3,keyasint,omitempty"`
}

func (*WarnExpiring) Kind() Kind { return KindWarnExpiring }

// Check allows an entry without certificates: the place moves on all the same.
func (c *WarnExpiring) Check() error {
	if c.From.NotAfter < 0 || !c.From.Before(c.To) {
		return fmt.Errorf("to: it is not behind from")
	}
	if len(c.Serials) == 0 {
		return nil
	}
	if err := count("certificates", len(c.Serials), MaxWarnItems); err != nil {
		return err
	}
	return checkSerials(c.Serials)
}

var errSerials = fmt.Errorf("serials are not ascending, or one stands twice")

func checkSerials(serials []lifecycle.Serial) error {
	if len(serials) == 0 {
		return fmt.Errorf("no certificate is named")
	}
	for i, s := range serials {
		if err := checkSerial(s); err != nil {
			return err
		}
		if i > 0 && bytes.Compare(serials[i-1][:], s[:]) >= 0 {
			return errSerials
		}
	}
	return count("certificates", len(serials), MaxRevokeItems)
}

func checkSerial(s lifecycle.Serial) error {
	if !s.Valid() {
		return fmt.Errorf("serial %s is none this cluster gives out", s)
	}
	return nil
}
