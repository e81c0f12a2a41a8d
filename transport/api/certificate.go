package api

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func certificateRoutes() []*route {
	return []*route{
		changing("cert.issue", wire.PathIssueCertificate, "Issue a certificate", (*call).issueCertificate).as(sign, wire.MaxSignBytes).answers(of[wire.IssuedCertificate]()),
		changing("cert.renew", wire.PathRenewCertificate, "Renew a certificate; its own key asks", (*call).renewCertificate).as(open, wire.MaxSignBytes).answers(of[wire.IssuedCertificate]()),
		reading[wire.List[wire.Certificate]]("cert.list", wire.PathCertificates, "Find certificates", (*call).listCertificates,
			with(paged, wire.QueryIssuer, wire.QueryName, wire.QueryActor, wire.QueryNode, wire.QueryProfile, wire.QueryState, wire.QueryExpires, wire.QuerySerials)...),
		reading[wire.Certificate]("cert.show", wire.PathCertificate, "A certificate and what became of it", (*call).showCertificate),
		changing("cert.revoke-one", wire.PathRevokeCertificate, "Revoke a certificate", (*call).revokeCertificate),
		changing("cert.revoke", wire.PathRevokeCertificates, "Revoke certificates of one issuer", (*call).revokeCertificates),
		changing("cert.release", wire.PathReleaseCertificates, "End the hold of certificates of one issuer", (*call).releaseCertificates),
	}
}

func (c *call) desk() (*issuing.Office, error) {
	if c.Office == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node does not issue certificates").WithHint("try another node")
	}
	return c.Office, nil
}

func (c *call) issueCertificate(in *wire.IssueCertificate) (any, error) {
	if err := c.signRequestID(); err != nil {
		return nil, err
	}
	office, err := c.desk()
	if err != nil {
		return nil, err
	}
	is, err := office.Issue(c.r.Context(), issuing.Order{Caller: c.caller, RequestID: c.requestID, ReceivedAt: c.receivedAt, Issuer: c.name(),
		Profile: in.Profile, CSR: []byte(in.CSR), TTL: in.TTL, Names: pki.Names{DNS: in.DNS, IPs: in.IPs, URIs: in.URIs, Emails: in.Emails}})
	if err != nil {
		return nil, err
	}
	return c.issued(is)
}

func (c *call) renewCertificate(in *wire.RenewCertificate) (any, error) {
	if err := c.signRequestID(); err != nil {
		return nil, err
	}
	office, err := c.desk()
	if err != nil {
		return nil, err
	}
	serial, err := lifecycle.ParseSerial(c.name())
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	is, err := office.Renew(c.r.Context(), issuing.Renewal{Serial: serial, CSR: []byte(in.CSR), Proof: in.Proof, At: in.At.Instant(), RequestID: c.requestID,
		TTL: in.TTL, ReceivedAt: office.Elapsed(), Remote: c.r.RemoteAddr})
	if err != nil {
		var denied *authority.Denied
		if errors.As(err, &denied) {
			if slow := c.failures.Take(transport.AddressOf(c.r.RemoteAddr)); slow != nil {
				return nil, slow
			}
		}
		return nil, err
	}
	return c.issued(is)
}

// issued renders a certificate for whoever asked for it.
func (c *call) issued(is *issuing.Issued) (any, error) {
	cert, err := lifecycle.ReadCertificate(is.DER)
	if err != nil {
		return nil, err
	}
	if is.Replayed {
		c.w.Header()[wire.HeaderReplayed] = []string{"true"}
	}
	v := c.Service.View()
	w := wire.IssuedCertificate{Serial: is.Serial.String(), Node: nodeName(v, is.Node), Profile: is.Profile, PEM: pemOf(is.DER), Index: is.Index, RequestID: c.requestID,
		NotBefore: wire.Time(cert.NotBefore), NotAfter: wire.Time(cert.NotAfter), Position: transport.Position(v.Position())}
	w.RenewAfter = renewAfter(cert.NotBefore, cert.NotAfter)
	if len(is.Chain) > 0 {
		w.Issuer, w.IssuerKID = string(is.Chain[0].Issuer), is.Chain[0].KID
		w.ChainPEM, w.RootPEM = pathPEM(is.Chain)
	}
	return w, nil
}

// pathPEM is issuing.Path as text.
func pathPEM(chain []*lifecycle.CACert) (below, root string) {
	ders, top := issuing.Path(chain)
	for _, der := range ders {
		below += pemOf(der)
	}
	if top != nil {
		root = pemOf(top)
	}
	return below, root
}

// renewAfter is two thirds into the life of a certificate.
func renewAfter(from, to lifecycle.Instant) wire.Time { return wire.Time(from + (to-from)*2/3) }

func (c *call) listCertificates() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	if c.query.Has(wire.QuerySerials) {
		return c.certificatesOf()
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	q := state.CertQuery{Name: c.query.Get(wire.QueryName), Requester: c.query.Get(wire.QueryActor), Issuer: lifecycle.KeyID(c.query.Get(wire.QueryIssuer)),
		Profile: c.query.Get(wire.QueryProfile), Cursor: c.query.Get(wire.QueryCursor), Limit: min(limit, state.MaxCertPage)}
	if q.Node, err = c.nodeID(c.query.Get(wire.QueryNode)); err != nil {
		return nil, err
	}
	before, err := c.instant(wire.QueryExpires)
	if err != nil {
		return nil, err
	}
	if !before.IsZero() {
		q.To = lifecycle.Instant(before.UnixMilli())
	}
	if err := ofStatus(&q, c.query.Get(wire.QueryState), c.now()); err != nil {
		return nil, err
	}
	return c.foundCertificates(c.snap.FindCertificates(q))
}

// certificatesOf are those of the serials asked for that there are, in the order asked.
func (c *call) certificatesOf() (any, error) {
	if len(c.query) > 1 {
		return nil, wire.Errorf(wire.Invalid, "%s: name the serials, or filter, not both", wire.QuerySerials)
	}
	serials, err := parseSerials(strings.Split(c.query.Get(wire.QuerySerials), ","), wire.MaxSerials)
	if err != nil {
		return nil, err
	}
	found, err := c.snap.CertificatesOf(serials)
	return c.foundCertificates(state.CertPage{Certificates: slices.DeleteFunc(found, func(row *lifecycle.Certificate) bool { return row == nil })}, err)
}

// ofStatus narrows a query to those that certStatus calls so.
func ofStatus(q *state.CertQuery, status string, now lifecycle.Instant) error {
	switch status {
	case "":
	case wire.Good:
		q.States, q.From = []lifecycle.CertState{lifecycle.CertIssued}, now
	case wire.CertificateOnHold:
		q.States, q.From = []lifecycle.CertState{lifecycle.CertHeld}, now
	case "expired":
		q.States = []lifecycle.CertState{lifecycle.CertIssued, lifecycle.CertHeld}
		if q.To == 0 || q.To >= now {
			q.To = now - 1
		}
	case "revoked":
		q.States = []lifecycle.CertState{lifecycle.CertRevoked}
	case "announced":
		q.States = []lifecycle.CertState{lifecycle.CertIntent}
	default:
		return wire.Errorf(wire.Invalid, "state: %.40q is none of good, revoked, on_hold, expired, announced", status)
	}
	return nil
}

func (c *call) nodeID(name string) (lifecycle.NodeID, error) {
	if name == "" {
		return "", nil
	}
	n := c.snap.NodeByName(name)
	if n == nil {
		return "", wire.Errorf(wire.NodeNotFound, "there is no node %.80q", name).WithHint("chancery node list")
	}
	return n.ID, nil
}

func (c *call) affected() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	is, err := c.issuer()
	if err != nil {
		return nil, err
	}
	node, err := c.nodeID(c.query.Get(wire.QueryNode))
	if err != nil {
		return nil, err
	}
	if node == "" {
		return nil, wire.Errorf(wire.Invalid, "node: say whose instance, for example node=n2")
	}
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	page, err := c.snap.Affected(is.Name, node, c.now(), c.query.Get(wire.QueryCursor), min(limit, state.MaxCertPage))
	page.Certificates = slices.DeleteFunc(page.Certificates, func(row *lifecycle.Certificate) bool { return row.Profile == lifecycle.ProfileOCSP })
	list, err := c.foundCertificates(page, err) // it may be short, as any page
	if err != nil {
		return nil, err
	}
	for i, row := range page.Certificates {
		list.Items[i].Reissue = reissue(c.snap.View, row)
	}
	return list, nil
}

func (c *call) foundCertificates(page state.CertPage, failed error) (list wire.List[wire.Certificate], err error) {
	if errors.Is(failed, state.ErrCursor) {
		return list, wire.Errorf(wire.Invalid, "cursor: %v", failed)
	}
	if failed != nil {
		return list, failed
	}
	items := []wire.Certificate{}
	for _, row := range page.Certificates {
		items = append(items, c.certificate(row))
	}
	return listOf(c, items, wire.Text(page.Next)), nil
}

func (c *call) showCertificate() (any, error) {
	if err := c.may(access.CertRead, ""); err != nil {
		return nil, err
	}
	row, err := c.certificateRow()
	if err != nil {
		return nil, err
	}
	w := c.certificate(row)
	pos := transport.Position(c.snap.Position())
	w.Position, w.AsOf = &pos, wire.AsTime(c.snap.AsOf)
	der, err := c.snap.CertificateDER(row.Serial)
	if err != nil || der == nil {
		return w, err
	}
	sum := sha256.Sum256(der)
	w.PEM, w.FingerprintSHA256 = pemOf(der), hex.EncodeToString(sum[:])
	if cert, err := x509.ParseCertificate(der); err == nil {
		w.CRLURL, w.OCSPURL = first(cert.CRLDistributionPoints), first(cert.OCSPServer)
	}
	if ca := c.snap.CACertByKID(row.IssuerKID); ca != nil {
		below, root := pathPEM(issuing.Chain(c.snap.View, ca))
		w.ChainPEM = below + root
	}
	return w, nil
}

// certificateRow is the one that the path names.
func (c *call) certificateRow() (*lifecycle.Certificate, error) {
	serial, err := lifecycle.ParseSerial(c.name())
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	row, err := c.snap.Certificate(serial)
	if err == nil && row == nil {
		err = wire.Errorf(wire.CertificateNotFound, "no certificate has the serial %s", serial).WithHint("chancery cert list")
	}
	return row, err
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func (c *call) certificate(row *lifecycle.Certificate) wire.Certificate {
	w := wire.Certificate{Serial: row.Serial.String(), Issuer: string(row.Issuer), IssuerKID: row.IssuerKID, IssuerNode: nodeName(c.snap.View, row.Node),
		Profile: row.Profile, SAN: wire.SAN{DNS: notNil(row.DNS), IP: notNil(row.IPs), URI: notNil(row.URIs), Email: notNil(row.Emails)},
		NotBefore: wire.Time(row.NotBefore), NotAfter: wire.Time(row.NotAfter), RenewAfter: renewAfter(row.NotBefore, row.NotAfter),
		Status: certStatus(row, c.now()), Requester: row.Requester, SPKISHA256: hex.EncodeToString(row.SPKIHash),
		Issued: wire.CertIssued{ByNode: nodeName(c.snap.View, row.Node), At: wire.Time(row.IssuedAt), Index: row.Index, RequestID: row.RequestID}}
	if row.Subject != "" {
		w.Subject = "CN=" + row.Subject
	}
	w.Revocation = certRevocation(row.Revocation)
	if row.Replaces != nil {
		w.Replaces = wire.Text(row.Replaces.String())
	}
	if row.ReplacedBy != nil {
		w.ReplacedBy = wire.Text(row.ReplacedBy.String())
	}
	return w
}

func certRevocation(r *lifecycle.CertRevocation) *wire.CertRevocation {
	if r == nil {
		return nil
	}
	return &wire.CertRevocation{At: wire.Time(r.At), Reason: r.Reason, InvalidityAt: wire.Time(r.InvalidityAt), By: r.By, Comment: r.Comment, Unrecorded: r.Unrecorded}
}

// certStatus is the word for a certificate's state. Revoked says more than expired.
func certStatus(row *lifecycle.Certificate, now lifecycle.Instant) string {
	switch {
	case row.State == lifecycle.CertRevoked:
		return "revoked"
	case now > row.NotAfter:
		return "expired"
	case row.State == lifecycle.CertHeld:
		return "on_hold"
	case row.State == lifecycle.CertIntent:
		return "announced"
	}
	return "good"
}

func (c *call) revokeCertificate(in *wire.RevokeCertificate) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	row, err := c.certificateRow()
	if err != nil {
		return nil, err
	}
	item := command.RevokeItem{Serial: row.Serial, Reason: in.Reason, InvalidityAt: in.InvalidityAt.Instant(), Comment: in.Comment}
	return c.revoke(req, string(row.Issuer), []command.RevokeItem{item}, in.Reason, in.Comment)
}

func (c *call) revokeCertificates(in *wire.RevokeCertificates) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	serials, err := parseSerials(in.Serials, command.MaxRevokeItems)
	if err != nil {
		return nil, err
	}
	items := make([]command.RevokeItem, len(serials))
	for i, s := range serials {
		items[i] = command.RevokeItem{Serial: s, Reason: in.Reason, InvalidityAt: in.InvalidityAt.Instant(), Comment: in.Comment}
	}
	return c.revoke(req, in.Issuer, items, in.Reason, in.Comment)
}

func (c *call) revoke(req authority.Request, issuer string, items []command.RevokeItem, reason lifecycle.Reason, comment string) (any, error) {
	r, err := c.Service.RevokeCertificates(c.r.Context(), req, issuer, items)
	return c.operation(asked{verb: "cert revoke", kind: command.KindRevokeCertificates, key: issuer, reason: reason, comment: comment, final: true}, r, err)
}

func (c *call) releaseCertificates(in *wire.ReleaseCertificates) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	serials, err := parseSerials(in.Serials, command.MaxRevokeItems)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.ReleaseCertificates(c.r.Context(), req, in.Issuer, serials, in.Comment)
	return c.operation(asked{verb: "cert release", kind: command.KindReleaseCertificates, key: in.Issuer, comment: in.Comment, final: true}, r, err)
}

func parseSerials(list []string, most int) ([]lifecycle.Serial, error) {
	if len(list) == 0 || len(list) > most {
		return nil, wire.Errorf(wire.Invalid, "serials: %d are named; send 1 to %d", len(list), most)
	}
	out := make([]lifecycle.Serial, len(list))
	for i, text := range list {
		s, err := lifecycle.ParseSerial(text)
		if err != nil {
			return nil, wire.Errorf(wire.Invalid, "serials: %v", err)
		}
		out[i] = s
	}
	return out, nil
}
