// Package issuing signs certificates on this node with its instances of the issuers.
//
// A certificate is two entries of the log. What is about to be signed is announced
// first: serial, hash of the to-be-signed bytes, names, requester. What was signed is
// recorded before anybody gets it. So no certificate exists that the log does not know
// of, whatever stops when; one that was announced and never recorded counts as issued
// and is revoked at its deadline.
//
// Threat model: requesters are authenticated elsewhere and ask for anything; what they
// may have is decided by pki on the requesting node and the right to ask once more by
// Apply, for the announcement and for the record. A stolen node can sign what its own
// HSM signs, and no more than that; Chancery's part is that the log refuses to know it.
//
// Concurrency: an Office may be used from any number of goroutines.
package issuing

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/gather"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Log is this node's way into the log, wherever the leader is.
type Log interface {
	Announce(ctx context.Context, c command.IssueIntents) (state.Outcome, error)
	Record(ctx context.Context, c command.RecordIssued) (state.Outcome, error)
	BindCACert(ctx context.Context, c command.BindCACert) (state.Outcome, error)
	BindResponder(ctx context.Context, c command.BindResponder) (state.Outcome, error)
}

// Signer signs structures (signing.Signer).
type Signer interface {
	SignStructure(ctx context.Context, req signing.Request, st signing.Structure) (signing.Signature, error)
	Uphold(ctx context.Context, req signing.Request, version uint64, st signing.Structure) (signing.Signature, error)
	Introduce(ctx context.Context, req signing.Request, version uint64, right access.Verb, st signing.Structure) (signing.Signature, error)
}

// Config of an Office. All fields are required.
type Config struct {
	Ledger  ledger.Ledger
	Signer  Signer
	Log     Log
	Clock   func() time.Time
	Elapsed func() time.Duration // the clock of request ages
	Base    func() string        // of the addresses in certificates, "" = they name none
}

// Office issues certificates.
type Office struct {
	Config
	announcing gather.Gatherer[command.IssueItem, state.GroupOutcome]
	recording  gather.Gatherer[command.IssuedItem, recorded]
	counted    counts

	mu  sync.Mutex // owns what follows
	cas map[string]*preparedCA
}

// preparedCA is kept as long as its row and links stay the same.
type preparedCA struct {
	row   *lifecycle.CACert
	links pki.Links
	ca    *pki.CA
}

// recorded is what became of one certificate's record.
type recorded struct {
	index uint64
	state.GroupOutcome
}

// What is announced or recorded at a time at most: it has to fit a message between nodes.
// The leader gathers what they send into its entries, one at a time. With fewer flights
// what a node has ready misses some of them; with more, what is sent hardly carries anything.
const (
	entryCertificates = 128
	entryBytes        = 128 << 10
	flights           = 3
	announcedBytes    = 512 // of an item beside its names
)

// New makes an Office; it starts nothing.
func New(c Config) *Office {
	o := &Office{Config: c, cas: map[string]*preparedCA{}, counted: counts{of: map[Subject]Count{}}}
	o.announcing = gather.Gatherer[command.IssueItem, state.GroupOutcome]{Carry: o.announce, Flights: flights, Items: entryCertificates,
		Weight: entryBytes, Weigh: weigh}
	o.recording = gather.Gatherer[command.IssuedItem, recorded]{Carry: o.record, Flights: flights, Items: entryCertificates,
		Weight: entryBytes, Weigh: func(it command.IssuedItem) int { return len(it.DER) }}
	return o
}

func weigh(it command.IssueItem) int {
	n := announcedBytes + len(it.Subject)
	for _, l := range [][]string{it.DNS, it.IPs, it.URIs, it.Emails} {
		for _, s := range l {
			n += len(s) + 4
		}
	}
	return n
}

func (o *Office) announce(ctx context.Context, items []command.IssueItem) ([]state.GroupOutcome, error) {
	out, err := o.Log.Announce(ctx, command.IssueIntents{Node: o.Ledger.NodeID(), Items: items})
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return nil, notAnnounced(err)
	}
	return out.Groups, nil
}

func (o *Office) record(ctx context.Context, items []command.IssuedItem) ([]recorded, error) {
	out, err := o.Log.Record(ctx, command.RecordIssued{Node: o.Ledger.NodeID(), Items: items})
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return nil, notRecorded("%v", err)
	}
	all := make([]recorded, len(out.Groups))
	for i, g := range out.Groups {
		all[i] = recorded{out.Index, g}
	}
	return all, nil
}

// notAnnounced says why nothing was signed. As with signatures it hides the ledger's
// sentinels: a request to issue is not forwarded or repeated by whoever carries it.
func notAnnounced(err error) error {
	why := err.Error()
	switch {
	case errors.Is(err, ledger.ErrNotLeader):
		why = "no leader is known to this node"
	case errors.Is(err, ledger.ErrIndeterminate):
		why = "the leader was lost before it answered"
	}
	return refuse("not_recorded", "send the request again with the same request id, here or to another node", "the certificate could not be announced in the log: %s: nothing was signed", why)
}

func notRecorded(format string, args ...any) error {
	return refuse("not_recorded", "send the request again with the same request id: it says what became of it",
		"a certificate is given out once it stands in the log, and that is not known of this one: %s", fmt.Sprintf(format, args...))
}

func refuse(code, hint, format string, args ...any) error {
	return &authority.Refusal{Code: code, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// ca prepares the CA certificate of an instance for drafting.
func (o *Office) ca(v *state.View, row *lifecycle.CACert) (*pki.CA, error) {
	links := o.links(row)
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.cas[row.KID]; p != nil && p.row == row && p.links == links {
		return p.ca, nil
	}
	k := v.Key(row.Issuer)
	if k == nil {
		return nil, refuse(string(state.IssuerNotFound), "chancery issuer list", "there is no issuer %q", string(row.Issuer))
	}
	cert, err := x509.ParseCertificate(row.DER)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificate of %s: %w", row.KID, err)
	}
	var chain []*x509.Certificate
	below, root := Path(Chain(v, row))
	for _, der := range append(below, root)[1:] {
		if der == nil {
			continue // an external issuer's root is elsewhere
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read a CA certificate above %s: %w", row.KID, err)
		}
		chain = append(chain, c)
	}
	ca, err := pki.NewCA(cert, k.Alg, links, chain...)
	if err != nil {
		return nil, err
	}
	for kid, p := range o.cas { // rows that were replaced or dropped are not asked for again
		if v.CACertByKID(kid) != p.row {
			delete(o.cas, kid)
		}
	}
	o.cas[row.KID] = &preparedCA{row, links, ca}
	return ca, nil
}

// links are what certificates of an instance name, under the paths that every node
// serves.
func (o *Office) links(row *lifecycle.CACert) pki.Links {
	base := strings.TrimSuffix(o.Base(), "/")
	if base == "" {
		return pki.Links{}
	}
	return pki.Links{CA: base + "/issuers/" + string(row.Issuer) + "/" + row.KID + ".crt",
		CRL: base + "/crl/" + string(row.Issuer) + "/" + row.KID + ".crl", OCSP: base + "/ocsp"}
}

// maxChain ends a walk up, whatever the rows say.
const maxChain = 8

// Chain is a CA certificate and those above it that are known here, the root last.
func Chain(v *state.View, row *lifecycle.CACert) []*lifecycle.CACert {
	chain := []*lifecycle.CACert{row}
	for len(chain) < maxChain {
		last := chain[len(chain)-1]
		if last.ParentKID == "" || last.ParentKID == last.KID {
			break
		}
		above := v.CACertByKID(last.ParentKID)
		if above == nil {
			break
		}
		chain = append(chain, above)
	}
	return chain
}

// Path is what a verifier needs of a chain: the CA certificates that servers send, the
// issuer's own first, and the root that the verifier itself has to have; nil when that is
// elsewhere and was not brought along.
func Path(chain []*lifecycle.CACert) (below [][]byte, root []byte) {
	var ders [][]byte
	for _, row := range chain {
		ders = append(ders, row.DER)
	}
	ders = append(ders, chain[len(chain)-1].Above...)
	top := ders[len(ders)-1]
	if c, err := lifecycle.ReadCertificate(top); err == nil && bytes.Equal(c.Issuer, c.Subject) {
		return ders[:len(ders)-1], top
	}
	return ders, nil
}

func (o *Office) now() lifecycle.Instant { return lifecycle.Instant(o.Clock().UnixMilli()) }

// draw makes a serial.
func (o *Office) draw() lifecycle.Serial {
	var random [13]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return lifecycle.NewSerial(o.now(), random)
}
