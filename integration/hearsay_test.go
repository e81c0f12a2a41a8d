package integration

import (
	"go/ast"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/tools/go/packages"
)

// raftHearsay are methods of *raft.Raft that look like what we need and are not
// (PROTOCOL.md, "Facts about hashicorp/raft"). Only metrics may show them.
var raftHearsay = map[string]string{
	"AppliedIndex": "it moves when a batch is queued to the FSM, not when it is applied: use the index that our FSM published",
	"CommitIndex":  "it counts entries that the FSM never sees, and is not what is applied: only committedCommand takes it, as a bound to wait for",
	"LastIndex":    "the last entry stored may never be committed: only hastenLast takes it, to know whether a message follows anyway",
	"VerifyLeader": "it counts non-voters: use the voters-only confirmation round",
	"LastContact":  "heartbeats say nothing about how far behind a node is: use a read-index exchange",
}

// TestNoRaftHearsay finds calls and method values, through any variable of the
// type, in code and in tests.
func TestNoRaftHearsay(t *testing.T) {
	loaded := load(t, "..", true, "./fsm/...", "./cluster/...")
	for _, use := range methodUses(loaded, "github.com/hashicorp/raft", "Raft", raftHearsay) {
		known := slices.Contains([]string{"CommitIndex", "LastIndex"}, use.method) && filepath.Base(use.file) == "committed.go"
		if filepath.Base(use.file) != "metrics.go" && !known {
			t.Errorf("%s:%d: raft.%s: %s", use.file, use.line, use.method, raftHearsay[use.method])
		}
	}
}

// TestNoRaftHearsayFindsUses: the same finder on a type of the standard library,
// called, taken as a value, and through an embedding.
func TestNoRaftHearsayFindsUses(t *testing.T) {
	root := t.TempDir()
	writeModule(t, root, `package p

import "bytes"

type log struct{ *bytes.Buffer }

func (log) Cap() int { return 0 }

func use(b *bytes.Buffer, l log) (int, func() int) {
	_ = l.Cap() // another type's method of the same name
	return b.Len() + l.Len(), b.Cap
}
`)
	uses := methodUses(load(t, root, false, "./..."), "bytes", "Buffer", map[string]string{"Len": "", "Cap": ""})
	var lines []int
	for _, u := range uses {
		lines = append(lines, u.line)
	}
	if !slices.Equal(lines, []int{11, 11, 11}) {
		t.Errorf("found uses on lines %v", lines)
	}
}

// methodUse is a place where a method of a named type is called or taken.
type methodUse struct {
	file   string
	line   int
	method string
}

// methodUses finds uses of methods of path.typeName, also through embedding.
func methodUses(loaded []*packages.Package, path, typeName string, methods map[string]string) []methodUse {
	seen := map[methodUse]int{} // files of a package appear again in its test variant
	var out []methodUse
	for _, p := range loaded {
		here := map[methodUse]int{}
		for _, f := range p.Syntax {
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok || p.TypesInfo.Selections[s] == nil {
					return true
				}
				m, ok := p.TypesInfo.Selections[s].Obj().(*types.Func)
				if !ok || m.Signature().Recv() == nil || m.Pkg() == nil || m.Pkg().Path() != path {
					return true
				}
				if _, banned := methods[m.Name()]; !banned || !isNamed(m.Signature().Recv().Type(), typeName) {
					return true
				}
				at := p.Fset.Position(s.Sel.Pos())
				use := methodUse{at.Filename, at.Line, m.Name()}
				if here[use]++; here[use] > seen[use] {
					seen[use] = here[use]
					out = append(out, use)
				}
				return true
			})
		}
	}
	return out
}

func isNamed(t types.Type, name string) bool {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	n, ok := t.(*types.Named)
	return ok && n.Obj().Name() == name
}

// writeModule makes a module of one file that needs only the standard library.
func writeModule(t *testing.T, root, source string) {
	t.Helper()
	for name, content := range map[string]string{"go.mod": "module synthetic\n\ngo 1.26\n", "p.go": source} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// load type-checks packages of a module; patterns without a package are no error.
func load(t *testing.T, dir string, tests bool, patterns ...string) []*packages.Package {
	t.Helper()
	config := &packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo |
			packages.NeedImports,
		Dir: dir, Tests: tests,
	}
	loaded, err := packages.Load(config, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range loaded {
		for _, e := range p.Errors {
			t.Fatalf("%s does not type-check: %v", p.PkgPath, e)
		}
	}
	return loaded
}
