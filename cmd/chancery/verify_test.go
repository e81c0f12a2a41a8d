package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestRunVerifyOfACanary: its text is sent, for a digest does not say what it is of; any
// other file's digest is. What is shown is no accusation.
func TestRunVerifyOfACanary(t *testing.T) {
	dir := t.TempDir()
	sig := filepath.Join(dir, "sig")
	canary := signing.Canary{Consumer: "deploy-eu", Instance: "web-1", Key: "ci"}.Message("c", 1)
	for name, content := range map[string][]byte{"sig": {0x30}, "canary": canary, "release": []byte("release 1"), "long": append(canary, make([]byte, signing.MaxCanaryBytes)...)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, isText := range map[string]bool{"canary": true, "release": false, "long": false} {
		var asked wire.VerifyRequest
		got := against(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				respond(w, wire.Key{Name: "ci", Alg: "ES256"})
				return
			}
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				t.Error(err)
			}
			respond(w, wire.Verification{Key: "ci", State: "active", Status: wire.Good, Why: "it is a canary", Canary: &wire.SignedCanary{Consumer: "deploy-eu", Instance: "web-1"},
				Record: &wire.SignatureRecord{State: wire.SignatureNotRecorded, Why: "no canary is"}})
		}, "verify ci --in "+filepath.Join(dir, name)+" --sig "+sig)
		if (asked.Message != nil) != isText || (asked.Digest != nil) == isText || isText && string(asked.Message) != string(canary) {
			t.Errorf("%s was sent as %+v", name, asked)
		}
		if got.code != exitCheckFailed || strings.Contains(got.out, "NOT RECORDED") || !strings.Contains(got.out, "not recorded: no canary is") || !strings.Contains(got.out, "deploy-eu, instance web-1") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
