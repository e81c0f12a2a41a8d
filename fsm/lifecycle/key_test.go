package lifecycle

import "testing"

// TestTrustAndSigning walks every combination of what decides about trust and
// signing, against the rules of DESIGN.md in words.
func TestTrustAndSigning(t *testing.T) {
	flags := []bool{false, true}
	for _, s := range States {
		for _, published := range flags {
			for _, withdrawn := range flags {
				for _, distrusted := range flags {
					v := &Version{State: s, Withdrawn: withdrawn, Distrusted: distrusted}
					if published {
						v.PublishedAt = 1
					}
					revoked := s == Compromised || s == Destroyed || distrusted
					trusted := published && !withdrawn && !revoked
					if v.Distrusts() != revoked || v.InTrustSet() != trusted {
						t.Errorf("%+v: distrusts %t, in trust set %t", v, v.Distrusts(), v.InTrustSet())
					}
					for _, c := range Conditions {
						for _, known := range flags {
							i := &Instance{Condition: c}
							if known {
								i.KID, i.PublishedAt, i.AdmittedAt = "kid", 1, 1
							}
							if want := trusted && known && (c == Ready || c == Lost || c == Erased); i.InTrustSet(v) != want {
								t.Errorf("%+v of %+v: in trust set %t", i, v, i.InTrustSet(v))
							}
							if want := s == Active && trusted && known && c == Ready; i.MaySign(v) != want {
								t.Errorf("%+v of %+v: may sign %t", i, v, i.MaySign(v))
							}
						}
					}
				}
			}
		}
	}
}

func TestNodeSigns(t *testing.T) {
	for _, status := range []NodeStatus{Member, Quarantined, Removed, ""} {
		for _, signer := range []bool{false, true} {
			n := &Node{Status: status, Signer: signer}
			if n.Signs() != (signer && status == Member) {
				t.Errorf("%+v signs: %t", n, n.Signs())
			}
		}
	}
}
