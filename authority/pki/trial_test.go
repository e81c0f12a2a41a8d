package pki

import (
	"bytes"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestTrialsAreAlike: what stands before the signature does not depend on whether the
// throwaway key has signed it or a verifier has accepted a leaf before.
func TestTrialsAreAlike(t *testing.T) {
	for alg := range trialKeys {
		ca := newRoot(t, alg).issuing(t, alg, nil)
		order := Order{Request: request(t, keyOf(t, KeyP256), "", Names{DNS: []string{"a.test"}}), Requester: operator, Profile: Builtin("server"), Serial: serial(t), Now: now}
		var drafts []*Draft
		for range 2 {
			d, err := ca.Draft(order)
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			drafts = append(drafts, d)
			if err := ca.sign(t, d).CheckSignatureFrom(ca.Cert); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
		if ca.proven.Load() == nil {
			t.Errorf("%s: no leaf was accepted", alg)
		}
		if a, b := drafts[0], drafts[1]; !bytes.Equal(a.TBS, b.TBS) || !bytes.Equal(a.algorithm, b.algorithm) || a.SPKIHash != b.SPKIHash || a.Subject != b.Subject {
			t.Errorf("%s: two drafts of one order differ", alg)
		}
		order.TTL = lifecycle.Second
		if _, err := ca.Draft(order); err == nil {
			t.Errorf("%s: a certificate of a second was drafted", alg)
		}
	}
}
