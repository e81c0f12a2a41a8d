package signing

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Standing is where a signature stands in the log.
type Standing struct {
	Leaf *state.Leaf // nil = it is not recorded in this state

	// Must says that the log has to know it if this cluster released it: the key has
	// been strict for as long as the version exists.
	Must bool
	Why  string // what there is to say about either

	CompromisedSince lifecycle.Instant // of the version or instance that signed, 0 = not compromised, or nobody said since when
}

// Stand looks a signature up that Verify found valid. sig is what Verify was given.
// That there is no leaf is only true of v: a newer state may have one.
func Stand(v *state.View, d Verdict, sig []byte) (Standing, error) {
	k, ver := v.Key(d.Key), v.Version(d.Key, d.Version)
	if !d.Valid || k == nil || ver == nil {
		return Standing{}, fmt.Errorf("a signature by nobody has no place in the log")
	}
	s := Standing{Must: k.Policy.Strict && state.AllRecorded(k, ver)}
	if r := d.Revocation; r != nil && r.Reason.IsCompromise() {
		s.CompromisedSince = r.CompromisedSince
	}
	leaf, err := v.Recorded(sha256.Sum256(sig))
	if err == nil && leaf == nil {
		if other, ok := otherForm(k.Alg, sig); ok {
			if leaf, err = v.Recorded(sha256.Sum256(other)); leaf != nil {
				s.Why = "the log has it with the other of the two values that s may take: somebody rewrote it, which takes no key"
			}
		}
	}
	switch {
	case err != nil:
		return Standing{}, fmt.Errorf("look up the record of a signature of %s: %w", d.Key, err)
	case leaf != nil && (leaf.Key != d.Key || leaf.Version != d.Version || leaf.KID != d.KID):
		return Standing{}, fmt.Errorf("entry %d records a signature of %s version %d, %s, and it verifies with %s version %d, %s: %w",
			leaf.Index, leaf.Key, leaf.Version, leaf.KID, d.Key, d.Version, d.KID, state.ErrRecordMissing)
	case leaf == nil && !k.Purpose.SignsBytes() && !k.Purpose.SignsTokens():
		s.Must, s.Why = false, "what a "+string(k.Purpose)+" key signs is recorded as what it is: chancery cert list"
	case leaf == nil && !s.Must:
		s.Why = strictSince(k, ver)
	}
	s.Leaf = leaf
	return s, nil
}

// otherForm is the twin of an ECDSA signature.
func otherForm(alg lifecycle.Algorithm, sig []byte) ([]byte, bool) {
	if alg != lifecycle.ES256 && alg != lifecycle.ES384 {
		return nil, false
	}
	other, err := hsm.OtherECDSA(alg, sig)
	return other, err == nil
}

// strictSince says why a version may have signed what the log does not know.
func strictSince(k *lifecycle.Key, v *lifecycle.Version) string {
	if k.StrictAt == 0 {
		return "nobody noted since when the policy of " + string(k.ID) + " asks for records"
	}
	return fmt.Sprintf("version %d was made at %s, and the policy of %s asks for records since %s", v.Number, v.Created.At, k.ID, k.StrictAt)
}

// Before reports whether the record was made before the compromise.
func (s *Standing) Before() bool { return s.Leaf != nil && s.Leaf.At < s.CompromisedSince }
