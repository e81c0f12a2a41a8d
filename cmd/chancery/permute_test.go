package main

import (
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestPermute(t *testing.T) {
	app := newApp(strings.NewReader(""), io.Discard, io.Discard)
	for line, want := range map[string]string{
		"status":                           "status --",
		"status -o json":                   "-o json status --",
		"-o json status":                   "-o json status --",
		"key show ci -o json":              "-o json key show -- ci",
		"key show ci -o=json":              "-o=json key show -- ci",
		"key ci show":                      "unknown command",
		"key create ci --owner a --plan":   "--plan key create --owner a -- ci",
		"key --owner a create ci":          "key create --owner a -- ci",
		"key create --owner=a ci":          "key create --owner=a -- ci",
		"key create ci --dry-run":          "--dry-run key create -- ci",
		"key create --owner -- --plan ci":  "--plan key create --owner -- -- ci",
		"key create --owner --plan ci":     "key create --owner --plan -- ci",
		"key create -- ci --owner":         "key create -- ci --owner",
		"key list -l team=rel":             "key list -l team=rel --",
		"key list --selector team=rel":     "key list --selector team=rel --",
		"sign ci --in - --out x":           "sign --in - --out x -- ci",
		"jwt verify --key k -":             "jwt verify --key k -- -",
		"key show --help":                  "key show --help",
		"key show ci -h":                   "key show --help",
		"":                                 "--help",
		"--plan":                           "--plan --help",
		"key show ci --purpose x":          "unknown flag --purpose",
		"key --purpose x show ci":          "has no flag --purpose",
		"key show -x":                      "unknown flag -x",
		"status --timeout":                 "needs a value",
		"join --token-file f --config c":   "join --token-file f --config c --",
		"token list --token-file f":        "--token-file f token list --",
		"key policy get ci --context prod": "--context prod key policy get -- ci",
	} {
		got, err := permute(app, append([]string{"chancery"}, strings.Fields(line)...))
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", line, err, want)
			}
			continue
		}
		if !reflect.DeepEqual(got[1:], strings.Fields(want)) {
			t.Errorf("%q became %q, want %q", line, got[1:], want)
		}
	}
}

func FuzzPermute(f *testing.F) {
	app := newApp(strings.NewReader(""), io.Discard, io.Discard)
	f.Add("key create ci --owner a -o json -- --x")
	f.Add("-=")
	f.Add("-- - --= --o")
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, " ")
		got, err := permute(app, append([]string{"chancery"}, words...))
		if err != nil || got[len(got)-1] == "--help" {
			return
		}
		// No word is lost and none is made up: only the "--" is added or moved.
		count := map[string]int{}
		for _, w := range words {
			count[w]++
		}
		for _, w := range got[1:] {
			count[w]--
		}
		delete(count, "--")
		for w, n := range count {
			if n != 0 {
				t.Errorf("%q became %q: %q is off by %d", words, got, w, n)
			}
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"create", "rotate", "revoke", "resume", "list"}
	for typed, want := range map[string]string{"creat": "create", "rvoke": "revoke", "lsit": "list", "rot": "rotate", "xyz": "", "frobnicate": ""} {
		if got := nearest(typed, known); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
