package state

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// CertQuery says which certificates are looked for. Empty fields ask for nothing. The
// most telling of Name, SPKIHash, Requester, the times and the issuer decides in which
// index is looked, and so the order of what is found.
type CertQuery struct {
	Name      string // any name in it, in full or with '*' for any run of characters: "web-*", "*.a.test"
	SPKIHash  []byte
	Requester string
	Issuer    lifecycle.KeyID
	Node      lifecycle.NodeID // of the issuer's instance
	KID       string           // likewise
	Profile   string
	States    []lifecycle.CertState
	From, To  lifecycle.Instant // NotAfter lies in here, both ends included
	Cursor    string            // Next of the page before
	Limit     int               // of the page; 0 = DefaultCertPage, at most MaxCertPage
}

const (
	DefaultCertPage = 100
	MaxCertPage     = 1000
	// maxIndexLooks and maxRowLooks bound the work for one page, to some tens of
	// milliseconds: a page may be short, or empty, and have a next one.
	maxIndexLooks = 50_000
	maxRowLooks   = 5_000
)

// CertPage is a part of what was found.
type CertPage struct {
	Certificates []*lifecycle.Certificate
	Next         string // "" = there is no more
}

// ErrCursor is returned for a cursor that no page of the same query gave.
var ErrCursor = errors.New("the cursor is not one of this query")

// FindCertificates returns one page. The pages after it may hold certificates that came
// meanwhile, and none twice.
func (v *View) FindCertificates(q CertQuery) (page CertPage, err error) {
	f := &finder{v: v, q: &q, kids: v.kidsOf(&q), page: &page, limit: q.Limit}
	switch {
	case f.limit <= 0:
		f.limit = DefaultCertPage
	case f.limit > MaxCertPage:
		f.limit = MaxCertPage
	}
	f.plan()
	if q.Cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err != nil || !strings.HasPrefix(string(raw), string(f.table)+"\x00"+f.prefix) {
			return page, ErrCursor
		}
		f.from = string(raw[len(f.table)+1:])
	}
	err = v.cold(func(r Reader) error {
		r.Ascend(f.table, f.from, func(key string, b []byte) bool { return f.look(r, key, b) })
		return f.err
	})
	return page, err
}

// Affected lists certificates of an issuer's instances on a node that have not expired at
// an instant: what has to be issued anew when the instance is lost. Revoked ones are
// left out.
func (v *View) Affected(issuer lifecycle.KeyID, node lifecycle.NodeID, at lifecycle.Instant, cursor string, limit int) (CertPage, error) {
	return v.FindCertificates(CertQuery{Issuer: issuer, Node: node, From: at, States: []lifecycle.CertState{lifecycle.CertIssued, lifecycle.CertHeld}, Cursor: cursor, Limit: limit})
}

// finder walks one index for a page.
type finder struct {
	v    *View
	q    *CertQuery
	kids []string // in binary; nil = any
	page *CertPage

	table  Table
	prefix string // of the keys looked at
	from   string
	name   string // pattern that names in keys of TableCertNames must match
	limit  int
	keys   int
	rows   int
	err    error
}

// kidsOf are the instances the query restricts its certificates to.
func (v *View) kidsOf(q *CertQuery) (kids []string) {
	if q.KID == "" && q.Issuer == "" && q.Node == "" {
		return nil
	}
	kids = []string{} // nothing fits when there is none
	for _, ca := range v.CACerts(q.Issuer) {
		if (q.KID == "" || ca.KID == q.KID) && (q.Node == "" || ca.Node == q.Node) {
			kids = append(kids, kidBytes(ca.KID))
		}
	}
	return kids
}

// plan chooses the index.
func (f *finder) plan() {
	q := f.q
	switch {
	case q.Name != "":
		f.table, f.name = TableCertNames, lifecycle.IndexName(q.Name)
		f.prefix, _, _ = strings.Cut(f.name, "*")
		if f.prefix == f.name {
			f.prefix += "\x00"
		}
	case len(q.SPKIHash) > 0:
		f.table, f.prefix = TableCertKeys, string(q.SPKIHash)
	case q.Requester != "":
		f.table, f.prefix = TableCertRequesters, q.Requester+"\x00"
	case q.From != 0 || q.To != 0 || f.kids != nil && !slices.Contains(q.States, lifecycle.CertIntent):
		f.table = TableCertExpiry
	default:
		f.table = TableCertificates
	}
	f.from = f.prefix
	if f.table == TableCertExpiry && q.From > 0 {
		f.from = instantKey(q.From)
	}
}

// look takes one row of the index in; false ends the page.
func (f *finder) look(r Reader, key string, b []byte) bool {
	if !strings.HasPrefix(key, f.prefix) || f.table == TableCertExpiry && f.q.To != 0 && keyInstant(key) > f.q.To {
		return false
	}
	if len(f.page.Certificates) == f.limit || f.keys == maxIndexLooks || f.rows == maxRowLooks {
		f.page.Next = base64.RawURLEncoding.EncodeToString([]byte(string(f.table) + "\x00" + key))
		return false
	}
	f.keys++
	if !f.fitsIndex(key, b) {
		return true
	}
	f.rows++
	c, err := f.v.readCertificate(r, serialAt(key))
	if err != nil || c == nil {
		f.err = err
		if c == nil && err == nil {
			f.err = fmt.Errorf("read certificate %s: an index names it and it is not there", serialAt(key))
		}
		return false
	}
	if f.fits(c) && f.firstName(key, c) {
		f.page.Certificates = append(f.page.Certificates, c)
	}
	return true
}

func keyInstant(key string) lifecycle.Instant {
	if len(key) < 8 {
		return 0
	}
	return lifecycle.Instant(binary.BigEndian.Uint64([]byte(key[:8])))
}

// fitsIndex is what the index alone can tell.
func (f *finder) fitsIndex(key string, b []byte) bool {
	switch f.table {
	case TableCertNames:
		name, _, _ := strings.Cut(key, "\x00")
		return lifecycle.MatchGlob(f.name, name)
	case TableCertExpiry:
		return f.kids == nil || slices.ContainsFunc(f.kids, func(kid string) bool { return strings.HasPrefix(kid, string(b)) })
	}
	return true
}

// firstName keeps a certificate with several names that match from being found at each.
func (f *finder) firstName(key string, c *lifecycle.Certificate) bool {
	if f.table != TableCertNames {
		return true
	}
	here, _, _ := strings.Cut(key, "\x00")
	for _, name := range c.Names() {
		if name < here && lifecycle.MatchGlob(f.name, name) {
			return false
		}
	}
	return true
}

func (f *finder) fits(c *lifecycle.Certificate) bool {
	q := f.q
	switch {
	case f.kids != nil && !slices.Contains(f.kids, kidBytes(c.IssuerKID)),
		len(q.States) > 0 && !slices.Contains(q.States, c.State),
		q.Requester != "" && c.Requester != q.Requester,
		q.Profile != "" && c.Profile != q.Profile,
		len(q.SPKIHash) > 0 && string(c.SPKIHash) != string(q.SPKIHash),
		q.From != 0 && c.NotAfter < q.From,
		q.To != 0 && c.NotAfter > q.To:
		return false
	}
	return true
}
