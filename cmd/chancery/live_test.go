//go:build !clientonly && !windows

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestLive runs the stories that need a cluster: one of three real nodes for all
// of them, so each story makes its own keys and principals.
func TestLive(t *testing.T) {
	liveStories(t, "testdata/live")
}

// liveStories runs the stories of a folder against a cluster that they share.
func liveStories(t *testing.T, dir string, flags ...string) {
	t.Helper()
	if testing.Short() {
		t.Log("-short: no cluster is started")
		return
	}
	env := startCluster(t, flags...)
	testscript.Run(t, testscript.Params{Dir: dir, Cmds: commands, Setup: func(e *testscript.Env) error {
		if err := isolate(e); err != nil {
			return err
		}
		for _, kv := range env {
			k, v, _ := strings.Cut(kv, "=")
			e.Setenv(k, v)
		}
		return nil
	}})
}

// startCluster runs `chancery dev` and returns its environment, with N1 to N3 as
// the nodes' addresses and DEV as the cluster's directory. The program is this test binary under the name chancery,
// which TestMain answers to; a link, because the nodes are started by the path of
// their executable.
func startCluster(t *testing.T, flags ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "chancery")
	if err := os.Link(self, program); err != nil {
		copyProgram(t, self, program)
	}
	cluster := filepath.Join(dir, "dev")
	run := func(args ...string) {
		out, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(cluster, "log")) // best effort: it may not exist yet
			t.Errorf("chancery %v: %v\n%s\n%s", args, err, out, log)
		}
	}
	run(append([]string{"dev", "--detach", "--dir", cluster}, flags...)...)
	t.Cleanup(func() { run("dev", "stop", "--dir", cluster) })
	if t.Failed() {
		t.FailNow()
	}
	return append(readEnv(t, filepath.Join(cluster, "env")), "DEV="+cluster)
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func readEnv(t *testing.T, file string) (env []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		k, v, found := strings.Cut(strings.TrimPrefix(s.Text(), "export "), "=")
		if !found {
			t.Fatalf("line %q of %s", s.Text(), file)
		}
		v = strings.Trim(v, "'")
		env = append(env, k+"="+v)
		if strings.HasPrefix(k, "CHANCERY_CERT") { // stories take them out of the environment and put them back
			env = append(env, map[string]string{"CHANCERY_CERT": "ADMIN_CERT", "CHANCERY_CERT_KEY": "ADMIN_KEY"}[k]+"="+v)
		}
		if k == "CHANCERY_ADDRS" {
			for i, a := range strings.Split(v, ",") {
				env = append(env, fmt.Sprintf("N%d=%s", i+1, a))
			}
		}
	}
	return env
}
