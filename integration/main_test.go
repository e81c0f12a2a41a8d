package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the environment sets. None of it is needed for `go test`.
const (
	envFull   = "CHANCERY_INTEGRATION"        // "full": many more kills
	envSeed   = "CHANCERY_INTEGRATION_SEED"   // repeats the choices of an earlier run
	envRace   = "CHANCERY_INTEGRATION_RACE"   // "1": the servers are built with the race detector
	envScenes = "CHANCERY_SCENARIOS"          // comma list: only scenarios whose names contain one of these
	envBinary = "CHANCERY_INTEGRATION_BINARY" // a program to test instead of building one
)

// buildDir holds the programs under test for the length of the run.
var (
	building sync.Mutex // owns buildDir
	buildDir string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		if err := os.RemoveAll(buildDir); err != nil {
			fmt.Fprintln(os.Stderr, "remove the built program:", err)
		}
	}
	os.Exit(code)
}

// built compiles the real program, once for all tests.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(envBinary); path != "" {
		return filepath.Abs(path)
	}
	return build("chancery")
})

// builtBreakable compiles the program that can be broken, see fsm/fault.
var builtBreakable = sync.OnceValues(func() (string, error) { return build("chancery-breakable", "-tags", "chancery_faults") })

func build(name string, flags ...string) (string, error) {
	building.Lock()
	defer building.Unlock()
	if buildDir == "" {
		dir, err := os.MkdirTemp("", "chancery-integration-")
		if err != nil {
			return "", err
		}
		buildDir = dir
	}
	path := filepath.Join(buildDir, name)
	args := append([]string{"build", "-o", path}, flags...)
	if os.Getenv(envRace) == "1" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, modulePath+"/cmd/chancery")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func breakableBinary(t *testing.T) string {
	t.Helper()
	path, err := builtBreakable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ended is how a command line ended.
type ended struct {
	stdout, stderr string
	code           int
}

// run runs the program to its end, with no CHANCERY_ variable but those given.
func run(t *testing.T, env []string, args ...string) ended {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	return finish(t, cmd, env, cmd.Run)
}

// finish gives a command its environment, lets it run, and collects what it said.
func finish(t *testing.T, cmd *exec.Cmd, env []string, toItsEnd func() error) ended {
	t.Helper()
	args := cmd.Args[1:]
	cmd.Env = append(cleanEnv(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := toItsEnd()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("chancery %s: %v", strings.Join(args, " "), err)
	}
	return ended{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs the program and wants exit code 0.
func must(t *testing.T, env []string, args ...string) ended {
	t.Helper()
	r := run(t, env, args...)
	if r.code != 0 {
		t.Fatalf("chancery %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

func cleanEnv() []string {
	var out []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CHANCERY_") && !strings.HasPrefix(e, "SOFTHSM2_CONF=") {
			out = append(out, e)
		}
	}
	return out
}

// seeded is a source of choices that can be repeated. What the processes make of
// them, and when, cannot.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(envSeed); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s=%q is not a number", envSeed, s)
		}
		seed = n
	}
	t.Logf("choices: %s=%d", envSeed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// eventually polls until ok answers "", and fails with what it said last.
func eventually(t *testing.T, within time.Duration, what string, ok func() string) {
	t.Helper()
	why := ""
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if why = ok(); why == "" {
			return
		}
	}
	t.Fatalf("%s: not within %s: %s", what, within, why)
}
