package ocsp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// State is the Source over a ledger: what the cluster knows of its certificates, and
// this node's responder certificates for it.
type State struct {
	ledger   ledger.Ledger
	private  *ecdsa.PrivateKey
	spkiHash [sha256.Size]byte
	log      *slog.Logger

	directory atomic.Pointer[indexed]
	delegates sync.Map // kid -> *held
}

// indexed is a directory with the rows it was made from.
type indexed struct {
	at            state.Position
	newest, count uint64 // of the rows' revisions; rows are never deleted
	*Directory
	fallen map[string]fallen // by kid
}

// fallen is an instance that nothing may be relied on any more, by an entry.
type fallen struct {
	standing Standing
	index    uint64
}

// held is a delegate with the revision of its row. A row that is of no use has none.
type held struct {
	rev uint64
	*Delegate
}

// NewState makes a source for the node whose ledger it is. private is its responder key,
// P-256, announced in the log.
func NewState(l ledger.Ledger, private *ecdsa.PrivateKey, log *slog.Logger) (*State, error) {
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("read the responder key: %w", err)
	}
	return &State{ledger: l, private: private, spkiHash: sha256.Sum256(spki), log: log}, nil
}

// Directory implements Source. It is made anew when a CA certificate is new, or fell.
func (s *State) Directory() *Directory { return s.current().Directory }

// current is the directory of the newest state.
func (s *State) current() *indexed {
	v, old := s.ledger.View(), s.directory.Load()
	at := v.Position()
	if old != nil && old.at.Epoch == at.Epoch && old.at.Index >= at.Index {
		return old
	}
	rows := v.CACerts("")
	now := &indexed{at: at}
	for _, c := range rows {
		now.newest, now.count = max(now.newest, c.Rev), now.count+1
		if ver := v.Version(c.Issuer, c.Version); ver != nil {
			now.newest = max(now.newest, ver.Rev)
		}
		if i := v.Instance(c.Issuer, c.Version, c.Node); i != nil {
			now.newest = max(now.newest, i.Rev)
		}
	}
	if old != nil && old.at.Epoch == at.Epoch && old.newest == now.newest && old.count == now.count {
		now.Directory, now.fallen = old.Directory, old.fallen
	} else {
		now.Directory, now.fallen = s.index(rows), fellOf(v, rows)
	}
	s.directory.CompareAndSwap(old, now) // losing to another reader costs that one look more
	return now
}

// fellOf lists the instances whose key somebody else has. RFC 6960 section 2.7 lets the
// responder say revoked of all that such a CA has certified: our delegates were certified
// by it too, and a verifier cannot tell ours from those of a thief.
func fellOf(v *state.View, rows []*lifecycle.CACert) map[string]fallen {
	out := map[string]fallen{}
	for _, c := range rows {
		if r := v.CACompromise(c); r != nil {
			out[c.KID] = fallen{Standing{Status: Revoked, RevokedAt: r.At, Reason: lifecycle.CACompromise}, max(c.Rev, r.Index)}
		}
	}
	return out
}

// index leaves out what cannot be read: the others are still answered for.
func (s *State) index(rows []*lifecycle.CACert) *Directory {
	var list []Issuer
	for _, c := range rows {
		one := Issuer{KID: c.KID, Certificate: c.DER}
		if _, err := NewDirectory([]Issuer{one}); err != nil {
			s.log.Error("read a CA certificate", "key", c.Issuer, "kid", c.KID, "err", err)
			continue
		}
		list = append(list, one)
	}
	d, err := NewDirectory(list)
	if err != nil {
		return &Directory{} // each was read a moment ago
	}
	return d
}

// Delegate implements Source.
func (s *State) Delegate(kid string) *Delegate {
	row := s.ledger.View().Responder(kid, s.ledger.NodeID())
	if row == nil {
		return nil
	}
	if found, ok := s.delegates.Load(kid); ok {
		if h := found.(*held); h.rev == row.Rev { //nolint:forcetypeassert // nothing else is stored
			return h.Delegate
		}
	}
	h := &held{rev: row.Rev}
	if bytes.Equal(row.SPKIHash, s.spkiHash[:]) { // else it is for the key this node had before
		var err error
		if h.Delegate, err = NewDelegate(s.private, row.DER); err != nil {
			s.log.Error("read a responder certificate", "kid", kid, "serial", row.Serial, "err", err)
		}
	}
	s.delegates.Store(kid, h)
	return h.Delegate
}

// Look implements Source. Rows of certificates may be newer than the state they are said
// to be of, never older.
func (s *State) Look(ctx context.Context, kid string, serials []lifecycle.Serial, out []Standing) (Basis, error) {
	snap, err := s.ledger.Read(ctx, ledger.Freshness{})
	if errors.Is(err, ledger.ErrStale) {
		snap, err = s.ledger.Read(ctx, ledger.Freshness{Level: ledger.Stale})
		snap.Fresh = false
	}
	if err != nil {
		return Basis{}, fmt.Errorf("read the state: %w", err)
	}
	b := Basis{Index: snap.Position().Index, AsOf: snap.AsOf, Fresh: snap.Fresh}
	if ca := snap.CACertByKID(kid); ca != nil {
		if issuer := snap.Issuer(ca.Issuer); issuer != nil {
			b.Valid = time.Duration(issuer.OCSPValid) * time.Millisecond
		}
	}
	fell, down := s.current().fallen[kid]
	for i, serial := range serials {
		c, err := snap.Certificate(serial)
		if err != nil {
			return Basis{}, fmt.Errorf("read the state: %w", err)
		}
		if out[i] = standing(c, kid); down && (out[i].Status == Good || out[i].Reason == lifecycle.CertificateHold) {
			out[i] = fell.standing
		}
	}
	return b, nil
}

// standing of a certificate with the instance that is said to have issued it. One that
// was announced and not recorded is not known yet.
func standing(c *lifecycle.Certificate, kid string) Standing {
	if c == nil || c.IssuerKID != kid {
		return Standing{}
	}
	switch c.State {
	case lifecycle.CertIssued:
		return Standing{Status: Good}
	case lifecycle.CertHeld, lifecycle.CertRevoked:
		s := Standing{Status: Revoked}
		if c.Revocation != nil {
			s.RevokedAt, s.Reason = c.Revocation.At, c.Revocation.Reason
		}
		return s
	}
	return Standing{}
}

// Moved implements Source.
func (s *State) Moved(kid string) uint64 {
	return max(s.ledger.View().CertTally(kid).RevokedIndex, s.current().fallen[kid].index)
}
