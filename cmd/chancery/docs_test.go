//go:build !clientonly && !windows

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPages types what the pages for users say, each on a cluster of its own, and wants
// what they show.
func TestPages(t *testing.T) {
	if testing.Short() {
		t.Log("-short: no cluster is started")
		return
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		steps := transcript(string(text))
		if len(steps) == 0 {
			continue // it explains, and shows nothing
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			env, dir := append(os.Environ(), startCluster(t)...), t.TempDir()
			for _, kv := range env {
				if cluster, ok := strings.CutPrefix(kv, "DEV="); ok { // the program lies beside it
					env = append(env, "PATH="+filepath.Dir(cluster)+":"+os.Getenv("PATH"))
				}
			}
			env = append(env, "CHANCERY_CONFIG_DIR="+dir)
			for _, s := range steps {
				s.run(t, dir, env)
			}
		})
	}
}

// step is one command of a page and what it prints there.
type step struct {
	command string
	exit    int
	shown   []string
}

// transcript finds the commands in the blocks marked console: lines that begin with a
// dollar and those that go on with "> ", each followed by what it prints. "# exit N"
// behind a command is how it ends.
func transcript(page string) (steps []step) {
	inside := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			command, exit, _ := strings.Cut(strings.TrimPrefix(line, "$ "), "# exit ")
			n, _ := strconv.Atoi(exit) // none is 0
			steps = append(steps, step{command: command, exit: n})
		case strings.HasPrefix(line, "> ") && len(steps) > 0: // the command goes on
			steps[len(steps)-1].command += "\n" + strings.TrimPrefix(line, "> ")
		case len(steps) > 0:
			steps[len(steps)-1].shown = append(steps[len(steps)-1].shown, line)
		}
	}
	return steps
}

func (s step) run(t *testing.T, dir string, env []string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", s.command)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code, err = exit.ExitCode(), nil
	}
	if err != nil || code != s.exit {
		t.Fatalf("$ %s\nexit %d, not %d (%v)\n%s", s.command, code, s.exit, err, out)
	}
	if !prints(string(out), s.shown) {
		t.Errorf("$ %s\nprinted\n%s\nthe page shows\n%s", s.command, out, strings.Join(s.shown, "\n"))
	}
}

// prints compares an output with what a page shows of it: "..." inside a line is any
// text, a line of it alone any number of lines. Runs of blanks count as one.
func prints(out string, shown []string) bool {
	var pattern strings.Builder
	pattern.WriteString("^")
	for _, line := range shown {
		if strings.TrimSpace(line) == "..." {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		var parts []string
		for _, part := range strings.Split(strings.Join(strings.Fields(line), " "), "...") {
			parts = append(parts, regexp.QuoteMeta(part))
		}
		pattern.WriteString(strings.ReplaceAll(strings.Join(parts, ".*"), " .*", ".*") + `\n`)
	}
	pattern.WriteString("$")
	var squeezed []string
	for _, line := range strings.Split(strings.TrimRight(out, "\n"), "\n") {
		squeezed = append(squeezed, strings.Join(strings.Fields(line), " "))
	}
	if len(shown) == 0 {
		return strings.TrimSpace(out) == ""
	}
	return regexp.MustCompile(pattern.String()).MatchString(strings.Join(squeezed, "\n") + "\n")
}

func TestPrints(t *testing.T) {
	for _, c := range []struct {
		out   string
		shown []string
		want  bool
	}{
		{"", nil, true},
		{"noise\n", nil, false},
		{"a:   1\nb: 2\n", []string{"a: 1", "b: 2"}, true},
		{"a: 1\nb: 2\n", []string{"a: 1"}, false},
		{"a: 1\nb: 2\nc: 3\n", []string{"a: 1", "...", "c: 3"}, true},
		{"a: 1\nb: 2\nc: 3\n", []string{"...", "b: ...", "..."}, true},
		{"a: 1\nb: 2\n", []string{"...", "c: ...", "..."}, false},
		{"at 12:01 by x\n", []string{"at ... by x"}, true},
	} {
		if got := prints(c.out, c.shown); got != c.want {
			t.Errorf("%q shown as %q: %t", c.out, c.shown, got)
		}
	}
	steps := transcript("text\n```console\n$ a b    # exit 5\nx\n$ c\n```\n```sh\n$ no\n```\n")
	if len(steps) != 2 || steps[0].exit != 5 || strings.TrimSpace(steps[0].command) != "a b" || len(steps[0].shown) != 1 || steps[1].command != "c" {
		t.Errorf("%+v", steps)
	}
}
