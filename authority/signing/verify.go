package signing

import (
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Verdict is what this cluster says of a signature. Valid is arithmetic: the
// signature is by that instance. Trusted adds the state: verifiers should accept it.
type Verdict struct {
	Valid      bool
	Trusted    bool
	Key        lifecycle.KeyID
	Version    uint64
	KID        string
	State      lifecycle.State
	Revocation *lifecycle.Revocation
	Why        string // when not trusted
}

// Verify looks for the instance that made a signature: the named one, or any
// that was ever published for the key.
func Verify(v *state.View, key, kid string, in Input, sig []byte) (Verdict, error) {
	k := v.Key(lifecycle.KeyID(key))
	if k == nil {
		return Verdict{}, refuse(string(state.KeyNotFound), "chancery key list", "there is no key %q", key)
	}
	tbs := in.Digest
	if in.Message != nil {
		tbs = Digest(k.Alg, in.Message)
	}
	if err := hsm.CheckInput(k.Alg, tbs); err != nil {
		return Verdict{}, refuse("bad_digest", "", "%v", err)
	}
	for _, ver := range v.Versions(k.ID) {
		for _, i := range v.Instances(k.ID, ver.Number) {
			if i.SPKI == nil || kid != "" && i.KID != kid {
				continue
			}
			if hsm.VerifySignature(k.Alg, i.SPKI, tbs, sig) == nil {
				return verdict(ver, i), nil
			}
		}
	}
	return Verdict{Key: k.ID, Why: "no instance of the key made this signature"}, nil
}

func verdict(ver *lifecycle.Version, i *lifecycle.Instance) Verdict {
	d := Verdict{Valid: true, Key: ver.Key, Version: ver.Number, KID: i.KID, State: ver.State, Revocation: ver.Revocation}
	if i.Revocation != nil {
		d.Revocation = i.Revocation
	}
	switch {
	case i.Condition == lifecycle.InstanceBad:
		d.Why = "the instance was revoked as compromised"
	case ver.Distrusts():
		d.Why = "the version is " + ver.State.String() + " and distrusted"
	case ver.Withdrawn:
		d.Why = "the version was withdrawn: its verify window is over"
	case i.PublishedAt == 0:
		d.Why = "the public key was never published"
	default:
		d.Trusted = true
	}
	return d
}
