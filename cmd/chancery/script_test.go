package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chancery": main})
}

// TestScript runs the stories that need no cluster.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: isolate, Cmds: commands})
}

// isolate keeps the caller's own contexts and environment out of a story.
func isolate(env *testscript.Env) error {
	env.Setenv("CHANCERY_CONFIG_DIR", env.WorkDir+"/config")
	for _, name := range []string{"ADDR", "ADDRS", "CA", "CERT", "CERT_KEY", "TOKEN_FILE", "CONTEXT", "OUTPUT", "TIMEOUT", "REQUEST_ID"} {
		env.Setenv("CHANCERY_"+name, "")
	}
	return nil
}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"code":  exitCode,
	"takes": takes,
	"until": until,

	"receiver": startReceiver,
}

// exitCode is "code N program args...": the program must end with exactly N.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("run %v: %v", args[1:], err)
	}
	if got != want {
		ts.Fatalf("%v ended with %d, not %d", args[1:], got, want)
	}
}

// takes is "takes NAME pattern": the first group of the pattern in the last stdout
// becomes the variable.
func takes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: takes NAME pattern")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("stdout does not match %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// until is "until program args...": it is run again until it succeeds.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until program args...")
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v still fails: %v", args, err)
		}
	}
}

func TestConfigDirDefault(t *testing.T) {
	t.Setenv("CHANCERY_CONFIG_DIR", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	dir, err := configDir()
	if err != nil || dir != os.Getenv("HOME")+"/.config/chancery" {
		t.Errorf("dir = %q, %v", dir, err)
	}
}
