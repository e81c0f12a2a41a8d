package authority

import (
	"context"
	"slices"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// KeySpec is what the owner of a new key says about it.
type KeySpec struct {
	Name      string
	Purpose   string
	Alg       string
	Bits      int    // 0 = the default of the algorithm
	Custody   string // "" = distributed
	Node      string // singleton: the node's name
	Owner     string
	Reason    string // business reason
	ConfirmBy lifecycle.Instant
	Labels    []lifecycle.Label
	Policy    *lifecycle.Policy // nil = the default of the purpose
	IfAbsent  bool
}

// CreateKey makes a key with its first version.
func (s *Service) CreateKey(ctx context.Context, req Request, spec KeySpec) (Result, error) {
	if err := lifecycle.CheckName("key", spec.Name); err != nil {
		return Result{}, refuse("invalid", "", "%v", err)
	}
	existing := false
	r, err := s.change(ctx, req, access.KeyCreate, lifecycle.KeyID(spec.Name), func(v *state.View) (command.Body, []command.RowRef, error) {
		c, err := s.planKey(v, spec)
		if err != nil {
			return nil, nil, err
		}
		switch old := v.Key(c.Name); {
		case old != nil && spec.IfAbsent:
			existing = true
			return nil, nil, sameKind(old, c)
		case old != nil:
			return nil, nil, refuse(string(state.AlreadyExists), "choose another name: names are never reused", "key %s exists since %s", old.ID, old.Created.At)
		}
		return c, []command.RowRef{{Table: string(state.TableKeys), Key: spec.Name}}, nil
	})
	if existing && err == errExisting {
		return Result{RequestID: req.RequestID, Existing: true, Outcome: state.Outcome{Subject: spec.Name, Key: lifecycle.KeyID(spec.Name)}}, nil
	}
	return r, err
}

var errExisting = &Refusal{Code: string(state.AlreadyExists), Message: "the key exists"}

// sameKind tells --if-absent whether what is there is what was asked for.
func sameKind(old *lifecycle.Key, c *command.CreateKey) error {
	if old.Purpose != c.Purpose || old.Alg != c.Alg || old.Bits != c.Bits || old.Custody != c.Custody {
		return refuse(string(state.AlreadyExists), "choose another name",
			"key %s exists as a %s key with %s, not as a %s key with %s", old.ID, old.Purpose, old.Alg, c.Purpose, c.Alg)
	}
	return errExisting
}

func (s *Service) planKey(v *state.View, spec KeySpec) (*command.CreateKey, error) {
	purpose, err := lifecycle.ParsePurpose(spec.Purpose)
	if err != nil {
		return nil, refuse("invalid", "", "%v", err)
	}
	switch purpose {
	case lifecycle.ForCertificate:
		return nil, refuse("invalid", "chancery issuer create "+spec.Name, "keys of purpose certificate belong to issuers")
	case lifecycle.ForStatus:
		return nil, refuse("invalid", "choose code, artifact, token or assertion", "nodes make their status keys themselves")
	}
	return s.planKeyFor(v, spec, purpose)
}

func (s *Service) planKeyFor(v *state.View, spec KeySpec, purpose lifecycle.Purpose) (*command.CreateKey, error) {
	if spec.Owner == "" || spec.Reason == "" {
		return nil, refuse("invalid", "--owner team@example.com --reason 'sign release tarballs'",
			"a key needs --owner and --reason, so that someone can answer for it")
	}
	custody, err := lifecycle.ParseCustody(spec.Custody)
	if err != nil {
		return nil, refuse("invalid", "", "%v", err)
	}
	alg, bits := lifecycle.Algorithm(spec.Alg), spec.Bits
	if alg == "" {
		alg = lifecycle.ES256
	}
	if alg.IsRSA() && bits == 0 {
		bits = lifecycle.DefaultRSABits
	}
	if err := lifecycle.CheckAlgorithm(alg, bits); err != nil {
		return nil, refuse("invalid", "", "%v", err)
	}
	c := &command.CreateKey{Name: lifecycle.KeyID(spec.Name), Purpose: purpose, Alg: alg, Bits: bits, Custody: custody,
		Owner: spec.Owner, Reason: spec.Reason, ConfirmBy: spec.ConfirmBy, Labels: spec.Labels, Policy: lifecycle.DefaultPolicy(purpose, alg)}
	if spec.Policy != nil {
		c.Policy = *spec.Policy
	}
	if c.ConfirmBy == 0 {
		c.ConfirmBy = s.Now().Add(confirmEvery(v))
	}
	slices.SortFunc(c.Labels, func(a, b lifecycle.Label) int { return compare(a.Name, b.Name) })
	if custody == lifecycle.Singleton {
		if spec.Node == "" {
			return nil, refuse(string(state.NodeNotFound), "chancery node list", "singleton custody needs the node that holds the key: --node NAME")
		}
		n := v.NodeByName(spec.Node)
		if n == nil {
			return nil, refuse(string(state.NodeNotFound), "chancery node list", "there is no node %q", spec.Node)
		}
		c.Node = n.ID
	} else if spec.Node != "" {
		return nil, refuse("invalid", "add --custody singleton", "--node names the holder of a singleton key; this one is distributed")
	}
	c.Instances, err = s.intents(v, custody, c.Node)
	return c, err
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// intents names the nodes that are to hold instances, each with a fresh CKA_ID.
// Nodes that are down are named too: they make theirs when they return.
func (s *Service) intents(v *state.View, custody lifecycle.Custody, only lifecycle.NodeID) (out []command.Intent, err error) {
	for _, n := range v.Nodes() {
		if !n.Signs() || custody == lifecycle.Singleton && n.ID != only {
			continue
		}
		id, err := s.DrawCKAID()
		if err != nil {
			return nil, err
		}
		out = append(out, command.Intent{Node: n.ID, CKAID: id})
	}
	if len(out) == 0 {
		return nil, refuse("not_ready", "chancery node promote NAME", "no node that may sign could hold the key")
	}
	return out, nil
}

// RotateKey prepares the next version. Publication and activation follow by
// themselves: when its instances are ready, and when its lead has passed.
func (s *Service) RotateKey(ctx context.Context, req Request, name string) (Result, error) {
	return s.change(ctx, req, access.KeyRotate, lifecycle.KeyID(name), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, err := findKey(v, name)
		if err != nil {
			return nil, nil, err
		}
		intents, err := s.intents(v, k.Custody, k.Node)
		if err != nil {
			return nil, nil, err
		}
		return &command.PrepareVersion{Key: k.ID, Version: k.Newest + 1, Instances: intents}, []command.RowRef{state.RefKey(k)}, nil
	})
}

// SetPolicy replaces the policy; ifMatch is the policy version it was edited
// from, 0 = whatever is there.
func (s *Service) SetPolicy(ctx context.Context, req Request, name string, ifMatch uint64, set command.SetPolicy) (Result, error) {
	return s.change(ctx, req, access.KeyPolicy, lifecycle.KeyID(name), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, err := findKey(v, name)
		if err != nil {
			return nil, nil, err
		}
		if ifMatch != 0 && ifMatch != k.PolicyVersion {
			return nil, nil, refuse("precondition_failed", "chancery key policy get "+name, "the policy of %s is at version %d, yours was made from %d", name, k.PolicyVersion, ifMatch)
		}
		set.Key = k.ID
		return &set, []command.RowRef{state.RefKey(k)}, nil
	})
}

func findKey(v *state.View, name string) (*lifecycle.Key, error) {
	if k := v.Key(lifecycle.KeyID(name)); k != nil {
		return k, nil
	}
	return nil, refuse(string(state.KeyNotFound), "chancery key list", "there is no key %q", name)
}
