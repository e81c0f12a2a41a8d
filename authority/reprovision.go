package authority

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// ReprovisionSpec says whose key store was replaced or wiped, on a node that stays.
type ReprovisionSpec struct {
	Node    string // name
	Reason  string // why its old key pairs end, RFC 5280; "" = cessationOfOperation
	Comment string
	All     bool // also key pairs that the node has not reported lost: the old store is out of its hands
}

// Reprovisioned is what became of one key's instances on the node.
type Reprovisioned struct {
	Key        lifecycle.KeyID
	Gone       []uint64      // versions whose instance on the node was given up for good
	Outcome    state.Outcome // of that; its entry opened a fence
	NewVersion uint64        // whose key pairs take their place; 0 = none
	Why        string        // why none, and what to do
	Next       string        // the command for it
}

// Reprovision gives up what a node's key store has lost and has new key pairs made. Old
// instances are marked for good: nothing is deleted from a key store, and no pair is made
// again under an old name. A key that had an active instance there gets a next version,
// with new key pairs on every node, published and used as in any rotation; so issuers get
// CA certificates for them, and the old ones are revoked at the parent. A singleton key
// gets nothing by itself: its only key pair is gone, and that has to be looked at.
//
// It is made of the entries that `key revoke --node` and `key rotate` make, one key after
// another. A repeat goes on where the first one ended.
func (s *Service) Reprovision(ctx context.Context, req Request, spec ReprovisionSpec) ([]Reprovisioned, error) {
	lead := s.ledger.Leadership()
	if !lead.Self || !lead.Ready {
		return nil, ledger.ErrNotLeader
	}
	v := s.View()
	if _, err := s.decide(ctx, v, req, access.NodeEdit, ""); err != nil {
		return nil, err
	}
	n, err := reprovisionable(v, &spec)
	if err != nil {
		return nil, s.confirmed(ctx, lead, err)
	}
	gone := Gone(v, n.ID, spec.All)
	if len(gone) == 0 {
		return nil, s.confirmed(ctx, lead, refuse(string(state.InstanceNotFound), "chancery node show "+n.Name,
			"node %s reports no key pair lost: it looks every ten minutes and when it starts; --all gives up every one without asking it", n.Name))
	}
	req.RequestID = "" // each entry is a request of its own
	var out []Reprovisioned
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		r, err := s.reprovisionKey(ctx, req, spec, n, id, gone[id])
		if err != nil {
			return out, fmt.Errorf("reprovision %s: %w", id, err)
		}
		out = append(out, r)
	}
	s.recordOutcome(req, access.NodeEdit, "", state.Outcome{Detail: fmt.Sprintf("reprovision %s: %d keys", n.Name, len(out))}, nil)
	return out, nil
}

// reprovisionable finds the node, and fills the reason in.
func reprovisionable(v *state.View, spec *ReprovisionSpec) (*lifecycle.Node, error) {
	n, err := findNode(v, spec.Node)
	if err != nil {
		return nil, err
	}
	if spec.Reason == "" {
		spec.Reason = string(lifecycle.CessationOfOperation)
	}
	reason, err := lifecycle.ParseReason(spec.Reason)
	switch {
	case err != nil:
		return nil, refuse("invalid", "", "%v", err)
	case reason == lifecycle.CertificateHold:
		return nil, refuse("invalid", "chancery node quarantine "+n.Name, "a hold can be taken back and this cannot: quarantine the node, or choose another reason")
	case n.Status == lifecycle.Removed:
		return nil, refuse(string(state.NodeNotMember), "chancery node token", "node %s was removed at %s: it joins again as a new node, with key pairs of its own", n.Name, n.RemovedAt)
	case !n.Signs():
		return nil, refuse("not_ready", "chancery node quarantine "+n.Name+" --release", "node %s does not sign: new key pairs would pass it by", n.Name)
	}
	return n, nil
}

// Gone lists by key the versions whose instance on a node was reported lost and may yet
// come back as far as the log knows; with all also those that it has.
func Gone(v *state.View, node lifecycle.NodeID, all bool) map[lifecycle.KeyID][]uint64 {
	gone := map[lifecycle.KeyID][]uint64{}
	v.EachInstance(func(i *lifecycle.Instance) bool {
		ver := v.Version(i.Key, i.Version)
		had := i.Condition == lifecycle.Lost || all && i.Condition == lifecycle.Ready
		if i.Node == node && i.KID != "" && had && i.Revocation == nil && ver != nil && !ver.Erasing {
			gone[i.Key] = append(gone[i.Key], i.Version)
		}
		return true
	})
	return gone
}

// reprovisionKey prepares one key's next version, and then marks its old instances: who
// repeats a request that ended between the two finds the version and makes no second one.
func (s *Service) reprovisionKey(ctx context.Context, req Request, spec ReprovisionSpec, n *lifecycle.Node, id lifecycle.KeyID, versions []uint64) (Reprovisioned, error) {
	out := Reprovisioned{Key: id, Gone: versions}
	v := s.View()
	if out.Why, out.Next = succession(v, v.Key(id), n, versions); out.Why == "" {
		r, err := s.RotateKey(ctx, req, string(id))
		var no *Refusal
		var rejected *state.Rejection
		switch {
		case errors.As(err, &no), errors.As(err, &rejected): // paused, for example: the others go on
			out.Why, out.Next = err.Error(), "chancery key rotate "+string(id)
		case err != nil:
			return out, err
		default:
			out.NewVersion = r.Outcome.Versions[0]
		}
	}
	r, err := s.Revoke(ctx, req, RevokeSpec{Key: string(id), Versions: versions, Node: n.Name, Reason: spec.Reason, Comment: spec.Comment})
	out.Outcome = r.Outcome
	return out, err
}

// succession says why a key gets no next version by itself, and what to type; "" = it does.
func succession(v *state.View, k *lifecycle.Key, n *lifecycle.Node, gone []uint64) (why, next string) {
	for _, ver := range v.Versions(k.ID) {
		if ver.State != lifecycle.PreActivation {
			continue
		}
		if slices.Contains(gone, ver.Number) {
			return fmt.Sprintf("version %d was being prepared, and %s has lost its key pair of it: roll it back and rotate again, or it goes on without %s", ver.Number, n.Name, n.Name),
				"chancery rotation rollback " + string(k.ID)
		}
		return fmt.Sprintf("version %d is being prepared already, with a key pair of %s", ver.Number, n.Name), ""
	}
	switch {
	case !slices.Contains(gone, k.Active):
		return "only versions that sign no more", ""
	case k.Custody == lifecycle.Singleton:
		if is := v.Issuer(k.ID); is != nil && is.Kind == lifecycle.RootIssuer {
			return "its only key pair is lost: nothing can be signed, issued or revoked under this root any more, and another root has to be trusted", "see docs/lost.md, \"The root\""
		}
		return fmt.Sprintf("its only key pair is lost: nobody signs with version %d, and those who verify have to load another public key", k.Active), "chancery key rotate " + string(k.ID)
	}
	return "", ""
}

// PlanReprovision says what Reprovision would do, and changes nothing.
func (s *Service) PlanReprovision(ctx context.Context, req Request, spec ReprovisionSpec) ([]Reprovisioned, error) {
	v := s.View()
	if _, err := s.decide(ctx, v, req, access.NodeEdit, ""); err != nil {
		return nil, err
	}
	n, err := reprovisionable(v, &spec)
	if err != nil {
		return nil, err
	}
	gone := Gone(v, n.ID, spec.All)
	out := []Reprovisioned{}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		k := v.Key(id)
		r := Reprovisioned{Key: id, Gone: gone[id]}
		if r.Why, r.Next = succession(v, k, n, gone[id]); r.Why == "" {
			r.NewVersion = k.Newest + 1
		}
		out = append(out, r)
	}
	return out, nil
}
