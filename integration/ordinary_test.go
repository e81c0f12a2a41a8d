package integration

import (
	"bytes"
	"os"
	"testing"

	"github.com/chancery-project/chancery/fsm/fault"
)

// TestOrdinaryBuildCannotBeBroken: nothing of the laboratory is in the program that is
// released, not even the names of what could be switched on.
func TestOrdinaryBuildCannotBeBroken(t *testing.T) {
	words := []string{fault.EnvFaults, fault.EnvControl, fault.EnvRecord,
		fault.SignAdmitted, fault.SignAtGate, fault.SignInGate, fault.FenceAck, fault.FenceBounded, fault.LeaseGrant, fault.LeaseTaken, fault.KeyStoreSign}
	for _, s := range seedlings {
		words = append(words, s.fault)
	}
	for name, want := range map[string]bool{binary(t): false, breakableBinary(t): true} {
		program, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words {
			if bytes.Contains(program, []byte(w)) != want {
				t.Errorf("%q in %s: want %v", w, name, want)
			}
		}
	}
}
