package integration

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/chancery-project/chancery"

// forbidden is an edge that the tree must not have: no package at or below one of
// from may import a package at or below one of to, in code or in tests.
type forbidden struct {
	from   []string // folders of this module; "" is all of it
	except []string // folders below from to which the edge is open
	exact  []string // single packages to which the edge is open, not what lies below them
	to     []string // folders of this module (with a leading ./) or import paths
	allow  []string // at or below to, and still allowed
	tests  []string // at or below to, and allowed in test files
	why    string
}

// arrows is DESIGN.md's "cmd -> transport -> authority -> fsm and cmd -> cluster
// -> fsm", turned round into what each layer must not see.
var arrows = []forbidden{
	{
		from: []string{"authority"}, to: []string{"./cluster"},
		why: "every authority test runs without Raft: both look down at fsm/ledger, and cmd joins them",
	},
	{
		from: []string{"cluster"}, to: []string{"./authority"},
		why: "every cluster test runs without an HSM: both look down at fsm/ledger, and cmd joins them",
	},
	{
		from: []string{"fsm"}, to: []string{"./authority", "./cluster", "./transport", "./client", "./cmd"},
		why: "the state machine is what all others agree on; it knows none of them",
	},
	{
		from: []string{"authority", "cluster"}, to: []string{"./transport", "./client", "./cmd"},
		tests: []string{"./transport/tlsmux"}, // Raft's transport is tested over the TLS port it runs on
		why:   "a service does not know how it is reached, or it could not be tested without a listener",
	},
	{
		from: []string{"transport"}, to: []string{"./cluster", "./client", "./cmd"},
		why: "transport serves an authority and carries bytes for a cluster; cmd hands it both",
	},
	{
		from: []string{"client"}, to: []string{"./authority", "./cluster", "./cmd", "./transport"}, allow: []string{"./transport/wire"},
		why: "the SDK is for other people's programs: it brings the wire's shapes along and no server",
	},
	{
		from: []string{""}, except: []string{"cmd", "integration"}, to: []string{"./cmd"},
		why: "the binary joins the parts, no part knows the binary",
	},
	{
		from: []string{""}, except: []string{"integration"}, to: []string{"./integration"},
		why: "integration drives real processes; nothing is built on a test",
	},
	{
		from: []string{""}, except: []string{"cluster", "integration/bench"}, exact: []string{"fsm"}, // bench: the yardstick is bare Raft
		to:  []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb"},
		why: "Raft is known to the adapter that it calls and to the node that runs it; all others propose to a ledger",
	},
	{
		from: []string{""}, except: []string{"cluster"},
		to:  []string{"github.com/hashicorp/memberlist"},
		why: "gossip gives hints to the cluster and carries no authority: nobody else may lean on it",
	},
	{
		from: []string{""}, except: []string{"authority/hsm/pkcs11", "integration/bench"}, // bench: the yardstick is crypto11
		to:  []string{"github.com/ThalesIgnite/crypto11", "github.com/miekg/pkcs11"},
		why: "these need cgo and a vendor's module in the process; everything else sees hsm.KeyStore and builds without",
	},
	{
		from: []string{""}, except: []string{"fsm/command", "fsm/snapshot"},
		to:  []string{"github.com/fxamacker/cbor/v2"},
		why: "the bytes of the log have one codec with one set of options; a second use would drift from it",
	},
	{
		from: []string{""}, except: []string{"cmd"}, to: []string{"github.com/urfave/cli/v2"},
		why: "only the command line parses a command line",
	},
}

// TestArrows holds the import arrows of DESIGN.md over all files, whatever their
// build tags.
func TestArrows(t *testing.T) {
	edges, err := importsBelow("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(edges) < 50 {
		t.Fatalf("only %d imports found: is this the project's root?", len(edges))
	}
	for _, v := range violations(edges, arrows) {
		t.Error(v)
	}
}

// edge is one import line.
type edge struct {
	file string // position, for the message
	from string // folder of the importing package; "" is the root
	to   string // ./folder within the module, else the import path
}

// importsBelow parses the import lines of every Go file below root.
func importsBelow(root string) ([]edge, error) {
	var out []edge
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("parse imports: %w", err)
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if folder = filepath.ToSlash(folder); folder == "." {
			folder = ""
		}
		for _, spec := range f.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if inside, ok := strings.CutPrefix(to, modulePath+"/"); ok {
				to = "./" + inside
			}
			out = append(out, edge{set.Position(spec.Pos()).String(), folder, to})
		}
		return nil
	})
	return out, err
}

// violations are the edges that a rule forbids, each with the rule's reason.
func violations(edges []edge, rules []forbidden) []string {
	var out []string
	for _, e := range edges {
		for _, r := range rules {
			if !within(e.from, r.from) || within(e.from, r.except) || slices.Contains(r.exact, e.from) {
				continue
			}
			if strings.Contains(e.file, "_test.go:") && within(e.to, r.tests) {
				continue
			}
			if within(e.to, r.to) && !within(e.to, r.allow) {
				out = append(out, fmt.Sprintf("%s: %s must not import %s: %s", e.file, e.from, e.to, r.why))
			}
		}
	}
	return out
}

// within tells whether path is one of folders or lies below one. The empty folder
// is the root of everything.
func within(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return f == "" || path == f || strings.HasPrefix(path, f+"/")
	})
}

// TestArrowsFindViolations runs the same checker over a small tree with one file
// for each forbidden edge, and for each edge that must stay open.
func TestArrowsFindViolations(t *testing.T) {
	raft, self := "github.com/hashicorp/raft", modulePath+"/"
	for _, c := range []struct {
		file, imports string
		bad           bool
	}{
		{"authority/a.go", self + "cluster", true},
		{"authority/signing/a.go", self + "cluster/lease", true},
		{"authority/a_test.go", self + "cluster", true},
		{"authority/a.go", self + "fsm/ledger", false},
		{"authority/a.go", self + "authority/hsm", false},
		{"authority/a.go", self + "transport/wire", true},
		{"cluster/c.go", self + "authority/hsm", true},
		{"cluster/c.go", self + "transport/tlsmux", true},
		{"cluster/c_test.go", self + "transport/tlsmux", false},
		{"cluster/c_test.go", self + "transport/api", true},
		{"cluster/c.go", self + "fsm/state", false},
		{"cluster/c.go", raft, false},
		{"fsm/state/s.go", self + "cluster/disk", true},
		{"fsm/state/s.go", self + "clusterish", false},
		{"fsm/f.go", raft, false},
		{"fsm/state/s.go", raft, true},
		{"fsm/f_test.go", "github.com/hashicorp/raft-boltdb/v2", false},
		{"authority/a.go", "github.com/hashicorp/memberlist", true},
		{"transport/api/t.go", self + "authority", false},
		{"transport/api/t.go", self + "cluster", true},
		{"transport/api/t.go", raft, true},
		{"client/c.go", self + "transport/wire", false},
		{"client/c.go", self + "transport/api", true},
		{"client/c.go", self + "authority/access", true},
		{"cmd/chancery/m.go", self + "cluster", false},
		{"cmd/chancery/m.go", self + "authority", false},
		{"cmd/chancery/m.go", "github.com/hashicorp/raft-boltdb/v2", true},
		{"transport/t.go", self + "cmd/chancery", true},
		{"fsm/f.go", self + "integration", true},
		{"authority/hsm/pkcs11/p.go", "github.com/miekg/pkcs11", false},
		{"authority/hsm/h.go", "github.com/miekg/pkcs11", true},
		{"cmd/chancery/m.go", "github.com/ThalesIgnite/crypto11", true},
		{"fsm/command/c.go", "github.com/fxamacker/cbor/v2", false},
		{"fsm/state/s.go", "github.com/fxamacker/cbor/v2", true},
		{"authority/a.go", "github.com/urfave/cli/v2", true},
	} {
		root := t.TempDir()
		path := filepath.Join(root, filepath.FromSlash(c.file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("package p\n\nimport _ \""+c.imports+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		edges, err := importsBelow(root)
		if err != nil {
			t.Fatal(err)
		}
		if found := violations(edges, arrows); (len(found) > 0) != c.bad {
			t.Errorf("%s importing %s: found %q", c.file, c.imports, found)
		}
	}
}
