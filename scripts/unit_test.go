package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const installed = "/usr/local/bin/chancery"

// TestUnits reads every unit file as systemd does, so far as that goes here, and has
// systemd read it too where it is.
func TestUnits(t *testing.T) {
	files, err := filepath.Glob("*.service")
	if err != nil || len(files) < 3 {
		t.Fatalf("units %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		settings := sections(t, file, string(text))
		if !slices.Equal(settings["Install"]["WantedBy"], []string{"multi-user.target"}) || len(settings["Unit"]["Description"]) != 1 {
			t.Errorf("%s: %v", file, settings)
		}
		for _, key := range []string{"ExecStart", "ExecStartPre"} {
			for _, line := range settings["Service"][key] {
				if !strings.HasPrefix(line, installed+" ") {
					t.Errorf("%s: %s=%s", file, key, line)
				}
			}
		}
		for key, want := range map[string]string{"KillSignal": "SIGTERM", "NoNewPrivileges": "yes", "ProtectSystem": "strict"} {
			if got := settings["Service"][key]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s=%v, not %s", file, key, got, want)
			}
		}
		verifyUnit(t, file, string(text))
	}
}

// sections reads a unit file: Section -> setting -> values.
func sections(t *testing.T, file, text string) map[string]map[string][]string {
	t.Helper()
	out, section := map[string]map[string][]string{}, ""
	for _, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok && strings.HasSuffix(name, "]") {
			section = strings.TrimSuffix(name, "]")
			if !slices.Contains([]string{"Unit", "Service", "Install"}, section) || out[section] != nil {
				t.Errorf("%s: section %q", file, section)
			}
			out[section] = map[string][]string{}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" || key != strings.TrimSpace(key) {
			t.Fatalf("%s: line %q", file, line)
		}
		out[section][key] = append(out[section][key], value)
	}
	return out
}

// verifyUnit asks systemd itself, which wants programs and users that are there.
func verifyUnit(t *testing.T, file, text string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Logf("%s: systemd is not here, so it was not asked", file)
		return
	}
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	text = strings.NewReplacer(installed, program, "User=chancery\n", "", "Group=chancery\n", "").Replace(text)
	at := filepath.Join(t.TempDir(), strings.Replace(file, "@.", "@web.", 1))
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := command(t, nil, "systemd-analyze", "verify", "--man=no", at)
	if said := r.stdout + r.stderr; r.code != 0 || strings.Contains(said, filepath.Base(at)+":") {
		t.Errorf("%s: exit %d: %s", file, r.code, said)
	}
}
