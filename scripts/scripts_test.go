// Package scripts tests the shell scripts beside it: what provision would do, what
// softhsm-token does, and that unit file, Vagrantfile and scripts name the same
// things. `make test` runs scripts/lint over them as well.
package scripts

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// result is how a script ended.
type result struct {
	stdout, stderr string
	code           int
}

// script runs a script of this folder with an environment of its own.
func script(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	return command(t, env, "bash", append([]string{"./" + name}, args...)...)
}

func command(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = &out, &errs
	c.Env = append(os.Environ(), env...)
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// need finds a program or says how to get it.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: run scripts/deps", program)
	}
}

// tripwires is a PATH in front of which every command that changes a machine is
// replaced by one that leaves a mark.
func tripwires(t *testing.T) (env []string, sprung func() []string) {
	t.Helper()
	bin, marks := t.TempDir(), t.TempDir()
	for _, name := range []string{
		"apt-get", "make", "install", "mv", "rm", "chown", "chmod", "mkdir", "useradd", "systemctl", "systemd-run", "softhsm2-util", "script",
	} {
		stub := "#!/bin/sh\n: >'" + filepath.Join(marks, name) + "'\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(stub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, func() []string {
		found, err := filepath.Glob(filepath.Join(marks, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
}

// inOrder checks that each text stands in s, after the one before it.
func inOrder(t *testing.T, s string, texts ...string) {
	t.Helper()
	rest := s
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Fatalf("no %q where it is due in:\n%s", text, s)
		}
		rest = after
	}
}

func TestProvisionDryRun(t *testing.T) {
	common := []string{
		"apt-get install", "softhsm2", "/usr/local/bin/chancery", "install -d -m 0750 -o root -g chancery /etc/chancery",
		"install -d -m 0700 -o chancery", "softhsm-token --dir /var/lib/chancery/softhsm --label", "--pin-file /etc/chancery/pin",
		"+ write /etc/chancery/chancery.toml (0640 root:chancery)", "[listen]", "[cluster]", "[keystore]", `driver = "pkcs11"`,
		"chancery.service /etc/systemd/system/chancery.service", "daemon-reload", "enable chancery.service",
	}
	for name, c := range map[string]struct {
		args []string
		want []string
		not  string
	}{
		"first": {
			[]string{"--node", "n1", "--address", "192.0.2.1", "--first"},
			[]string{"chancery init --config /etc/chancery/chancery.toml --admin-out", "systemctl start chancery.service"}, "chancery join",
		},
		"joiner with a token": {
			[]string{"--node", "n2", "--address", "192.0.2.2", "--join-token", "/root/token"},
			[]string{"install -m 0600 -o chancery -g chancery /root/token", "chancery join --config /etc/chancery/chancery.toml --token-file",
				"rm -f /var/lib/chancery/join-token", "systemctl start"}, "chancery init",
		},
		"joiner without": {
			[]string{"--node", "n3", "--address", "192.0.2.3", "--cluster", "prod"},
			[]string{"provision --node n3 --address 192.0.2.3 --cluster prod --join-token FILE"}, "systemctl start",
		},
	} {
		t.Run(name, func(t *testing.T) {
			env, sprung := tripwires(t)
			r := script(t, env, "provision", append(c.args, "--dry-run")...)
			if r.code != 0 {
				t.Fatalf("exit %d: %s", r.code, r.stderr)
			}
			inOrder(t, r.stdout, append(common, c.want...)...)
			if strings.Contains(r.stdout, c.not) {
				t.Errorf("it would also %q:\n%s", c.not, r.stdout)
			}
			if marks := sprung(); len(marks) > 0 {
				t.Errorf("a dry run ran %v", marks)
			}
		})
	}
}

func TestProvisionWritesTheAddresses(t *testing.T) {
	env, _ := tripwires(t)
	r := script(t, env, "provision", "--node", "n6", "--address", "2001:db8::6", "--dry-run")
	inOrder(t, r.stdout, `node_name = "n6"`, `api = "[2001:db8::6]:7600"`, `public = "[2001:db8::6]:7601"`, `node = "[2001:db8::6]:7602"`,
		`gossip = "[2001:db8::6]:7603"`, `metrics = "127.0.0.1:7604"`, `token_label = "n6"`)
}

func TestProvisionRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":       {nil, 1, "--node"},
		"no address":    {[]string{"--node", "n1"}, 1, "--address"},
		"bad name":      {[]string{"--node", "N1;reboot", "--address", "192.0.2.1"}, 1, "--node"},
		"bad address":   {[]string{"--node", "n1", "--address", "$(reboot)"}, 1, "--address"},
		"bad cluster":   {[]string{"--node", "n1", "--address", "192.0.2.1", "--cluster", "a b"}, 1, "--cluster"},
		"first joins":   {[]string{"--node", "n1", "--address", "192.0.2.1", "--first", "--join-token", "f"}, 1, "one of them"},
		"unknown flag":  {[]string{"--nodes", "n1"}, 2, "--dry-run"},
		"value missing": {[]string{"--node"}, 2, "--dry-run"},
	} {
		env, sprung := tripwires(t)
		r := script(t, env, "provision", append(c.args, "--dry-run")...)
		if name == "value missing" {
			r = script(t, env, "provision", c.args...)
		}
		if r.code != c.code || !strings.Contains(r.stderr, c.says) || r.stdout != "" {
			t.Errorf("%s: exit %d, %q, %q", name, r.code, r.stdout, r.stderr)
		}
		if marks := sprung(); len(marks) > 0 {
			t.Errorf("%s: ran %v", name, marks)
		}
	}
}

// TestScriptsAgree: the PIN's path, the binary's path and the machines' arguments
// stand in three files each.
func TestScriptsAgree(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	unit, provision, vagrant := read("chancery.service"), read("provision"), read(filepath.Join("..", "Vagrantfile"))
	inOrder(t, unit, "Type=notify", "ExecStart=/usr/local/bin/chancery server --config /etc/chancery/chancery.toml\n", "LoadCredential=pin:/etc/chancery/pin")
	inOrder(t, provision, "install -m 0755", "/usr/local/bin/chancery", `pin_file = "/run/credentials/chancery.service/pin"`)
	machines := regexp.MustCompile(`"(n[0-9])" => "([0-9.]+)"`).FindAllStringSubmatch(vagrant, -1)
	if len(machines) != 3 {
		t.Fatalf("the Vagrantfile has machines %v", machines)
	}
	inOrder(t, vagrant, "debian/bookworm64", `"--node", name, "--address", address, "--cluster", "vagrant"`, "/vagrant/scripts/provision")
	for _, m := range machines {
		env, _ := tripwires(t)
		r := script(t, env, "provision", "--node", m[1], "--address", m[2], "--cluster", "vagrant", "--dry-run")
		if r.code != 0 {
			t.Errorf("provision refuses the Vagrantfile's %s: %s", m[1], r.stderr)
		}
	}
}
