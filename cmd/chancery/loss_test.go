package main

import (
	"strings"
	"testing"

	"github.com/chancery-project/chancery/transport/wire"
)

// An operator who is about to give up a node reads whether OCSP goes on without it.
func TestLostIssuerWithoutResponder(t *testing.T) {
	lost := wire.LostIssuer{Issuer: "corp", Subject: "CN=corp 1", CRLUntil: 1_000}
	const none = "no other node answers OCSP for it"
	if got := lostIssuerText(&lost); !strings.Contains(got, none) {
		t.Errorf("without a responder: %q, want %q in it", got, none)
	}
	lost.OCSPUntil = 2_000
	if got := lostIssuerText(&lost); strings.Contains(got, none) || !strings.Contains(got, "OCSP until "+when(2_000)) {
		t.Errorf("with a responder: %q", got)
	}
}
