package signing

import (
	"context"
	"fmt"
	"sync"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Mandate is what a structure may be made for: the rows that admitted the request.
type Mandate struct {
	View     *state.View
	Key      *lifecycle.Key
	Version  *lifecycle.Version
	Instance *lifecycle.Instance
	Caller   *lifecycle.Principal // nil = the node itself
}

// Structure is something that Chancery makes itself and signs with a key of purpose
// certificate: a certificate, a CRL. Keys of that purpose sign nothing else. Each
// function is called once at most, and a structure is signed once.
type Structure struct {
	Verb string // for the audit record: "cert.issue", "crl.sign"

	// Make gives the bytes to sign. It is called when the request has been admitted.
	Make func(Mandate) (tbs []byte, err error)

	// Announce puts on record in the log that the bytes may be signed now. The key is
	// used only after that. nil = nothing needs to stand there.
	Announce func(ctx context.Context) error

	// Enter writes what was signed into the log, before it is released: for a structure
	// it takes the place of the record of a strict signature. It gives the index of the
	// entry, 0 when there is none to give.
	Enter func(ctx context.Context, signature []byte) (entry uint64, err error)
}

// SignStructure signs a structure for a caller, with the active version.
func (s *Signer) SignStructure(ctx context.Context, req Request, st Structure) (Signature, error) {
	return s.structure(ctx, req, st)
}

// Uphold signs a structure for the node itself, with a version that may have been
// retired: certificates it signed before need CRLs and OCSP delegates as long as they
// live.
func (s *Signer) Uphold(ctx context.Context, req Request, version uint64, st Structure) (Signature, error) {
	req.named = version
	return s.structure(ctx, req, st)
}

// Introduce signs a structure by which a published version makes itself known to
// whoever is to certify it: a certificate request, a root's own certificate. The version
// need not be active, for it shall not be before it is certified. It is asked for by a
// caller who has the right, or with "" by the node itself.
func (s *Signer) Introduce(ctx context.Context, req Request, version uint64, right access.Verb, st Structure) (Signature, error) {
	req.named, req.right, req.introduces = version, right, true
	return s.structure(ctx, req, st)
}

func (s *Signer) structure(ctx context.Context, req Request, st Structure) (Signature, error) {
	j, err := s.admit(req)
	if err != nil {
		return Signature{}, err
	}
	j.verb = st.Verb
	if j.key.Purpose != lifecycle.ForCertificate {
		return Signature{}, s.refused(req, refuse("wrong_purpose", "chancery issuer list", "%s is a key of purpose %s: it signs no certificates", j.key.ID, j.key.Purpose))
	}
	tbs, err := st.Make(Mandate{View: j.view, Key: j.key, Version: j.version, Instance: j.instance, Caller: j.caller})
	if err != nil {
		return Signature{}, s.refused(req, err)
	}
	if err := s.dated(req); err != nil {
		return Signature{}, err
	}
	fault.Reached(fault.SignAdmitted)
	in := Digest(j.key.Alg, tbs)
	ctx, cancel := context.WithTimeout(ctx, j.limit-(s.Elapsed()-j.ReceivedAt))
	defer cancel()
	if err := s.before(ctx, j, in, st); err != nil {
		return Signature{}, err
	}
	fault.Reached(fault.SignAnnounced)
	items := []Item{{Signature: j.signature(Input{Message: tbs})}}
	s.signOne(ctx, j, &items[0], in)
	var entry uint64
	if err = items[0].Err; err == nil {
		entry, err = st.Enter(ctx, items[0].Bytes)
	}
	s.release(j, items, [][]byte{in}, entry, err)
	return items[0].Signature, items[0].Err
}

// before puts the intent on this node's disk and into the log, at the same time. The
// key is used when both stand.
func (s *Signer) before(ctx context.Context, j *job, in []byte, st Structure) error {
	var announced error
	var both sync.WaitGroup
	if st.Announce != nil {
		both.Go(func() { announced = st.Announce(ctx) })
	}
	_, err := s.Audit.AppendBatch(ctx, []audit.Record{j.record(audit.SignIntent, s.Clock(), in)})
	both.Wait()
	if err != nil {
		return fmt.Errorf("%w: %w", authority.ErrAudit, err)
	}
	if announced != nil {
		return s.refused(j.Request, announced)
	}
	return nil
}
