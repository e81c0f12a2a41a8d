package publish

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out
}

// openssl and ssh-keygen read every export and see the same key.
func TestExportsReadByOthers(t *testing.T) {
	f := newFixture(t)
	for n, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.ES384, lifecycle.EdDSA, lifecycle.PS256} {
		name := lifecycle.KeyID([]string{"a", "b", "c", "d"}[n])
		kid := f.active(string(name), lifecycle.ForArtifact, alg)[0]
		sel := Selection{KID: kid[:MinKIDPrefix]}
		export := func(format Format) []byte {
			t.Helper()
			b, err := Export(f.View(), name, sel, format)
			if err != nil {
				t.Fatalf("%s %s: %v", alg, format, err)
			}
			return b
		}
		spki := f.View().Instance(name, 1, f.nodes[0]).SPKI
		if der := run(t, export(PEM), "openssl", "pkey", "-pubin", "-pubout", "-outform", "DER"); !bytes.Equal(der, spki) {
			t.Errorf("%s: openssl reads another key from the PEM", alg)
		}
		if !bytes.Equal(export(DER), spki) {
			t.Errorf("%s: DER is not the SPKI", alg)
		}
		checkSSH(t, alg, export(SSH), spki)
		if got := kids(t, export(JWKS)); len(got) != 1 || got[0] != kid {
			t.Errorf("%s: JWKS of %v", alg, got)
		}
	}
}

func checkSSH(t *testing.T, alg lifecycle.Algorithm, line, spki []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(file, line, 0o600); err != nil {
		t.Fatal(err)
	}
	listed := string(run(t, nil, "ssh-keygen", "-l", "-f", file))
	if kind := map[lifecycle.Algorithm]string{lifecycle.ES256: "256 SHA256:", lifecycle.ES384: "384 SHA256:",
		lifecycle.EdDSA: "256 SHA256:", lifecycle.PS256: "2048 SHA256:"}[alg]; !strings.HasPrefix(listed, kind) {
		t.Errorf("%s: ssh-keygen -l says %q", alg, listed)
	}
	if alg == lifecycle.EdDSA {
		return // ssh-keygen exports no Ed25519 key in PKCS#8
	}
	back := run(t, nil, "ssh-keygen", "-e", "-m", "PKCS8", "-f", file)
	if der := run(t, back, "openssl", "pkey", "-pubin", "-pubout", "-outform", "DER"); !bytes.Equal(der, spki) {
		t.Errorf("%s: ssh-keygen reads another key", alg)
	}
}

func TestSelection(t *testing.T) {
	f := newFixture(t)
	first := f.active("k", lifecycle.ForCode, lifecycle.ES256)
	f.prepare("k", 2)
	second := f.bind("k", 2, f.nodes[1]) // made, not published
	pick := func(s Selection) string {
		found, err := Select(f.View(), "k", s)
		if err != nil {
			return "!" + errors.Unwrap(err).Error()
		}
		var out []string
		for _, i := range found {
			out = append(out, i.KID)
		}
		return strings.Join(out, " ")
	}
	byNode := map[lifecycle.NodeID]string{}
	for n, kid := range first {
		byNode[f.nodes[n]] = kid
	}
	var all []string
	for _, i := range f.View().Instances("k", 1) {
		all = append(all, i.KID)
	}
	untrusted, nothing := "!"+ErrUntrusted.Error(), "!"+ErrNoInstance.Error()
	for what, c := range map[string]struct {
		s    Selection
		want string
	}{
		"everything":              {Selection{}, strings.Join(all, " ")},
		"a version":               {Selection{Version: 1}, strings.Join(all, " ")},
		"a node":                  {Selection{Node: f.nodes[1]}, byNode[f.nodes[1]]},
		"a kid":                   {Selection{KID: first[2]}, first[2]},
		"version and node":        {Selection{Version: 1, Node: f.nodes[0]}, first[0]},
		"an unpublished version":  {Selection{Version: 2}, untrusted},
		"an unpublished kid":      {Selection{KID: second}, untrusted},
		"for the investigator":    {Selection{Version: 2, Untrusted: true}, second},
		"a version that is not":   {Selection{Version: 3}, nothing},
		"too short a kid":         {Selection{KID: first[0][:7]}, nothing},
		"no kid of this key":      {Selection{KID: strings.Repeat("x", 43)}, nothing},
		"another version's kid":   {Selection{Version: 2, KID: first[0]}, nothing},
		"pending, even untrusted": {Selection{Version: 2, Node: f.nodes[0], Untrusted: true}, nothing},
	} {
		if got := pick(c.s); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{1}, Node: f.nodes[0], Reason: lifecycle.KeyCompromise})
	if got := pick(Selection{KID: first[0]}); got != untrusted {
		t.Errorf("a compromised kid is exported: %s", got)
	}
}

func TestExportRefuses(t *testing.T) {
	f := newFixture(t)
	f.active("k", lifecycle.ForCode, lifecycle.ES256)
	for what, c := range map[string]struct {
		key    lifecycle.KeyID
		format Format
		want   error
	}{"no key": {"absent", PEM, ErrNoKey}, "three keys as DER": {"k", DER, ErrSeveral}, "a format that is none": {"k", "xml", ErrFormat}} {
		if b, err := Export(f.View(), c.key, Selection{}, c.format); !errors.Is(err, c.want) || b != nil {
			t.Errorf("%s: %q, %v", what, b, err)
		}
	}
	line, err := AuthorizedKey(newKey(t, lifecycle.EdDSA), "a\ncommand=\"x\" b")
	if err != nil || bytes.Count(line, []byte("\n")) != 1 {
		t.Errorf("a comment breaks the line: %q, %v", line, err)
	}
}
