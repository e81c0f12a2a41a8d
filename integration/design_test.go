package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)")
	quoted   = regexp.MustCompile("`([a-z][^`]*)`")
)

// TestNamesInDesign: a test that DESIGN.md names to show something exists, and so does a
// scenario.
func TestNamesInDesign(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testFunctions(t)
	for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
		if !tests[m[1]] {
			t.Errorf("DESIGN.md names %s, and there is no such test", m[1])
		}
	}
	played := map[string]bool{}
	for _, s := range scenarios {
		played[s.name] = true
	}
	named := 0
	_, table, _ := strings.Cut(string(text), "**The fault catalogue.**")
	table, _, _ = strings.Cut(table, "**Does it find anything?**")
	for _, m := range quoted.FindAllStringSubmatch(table, -1) {
		if played[m[1]] {
			named++
		} else if strings.Contains(m[1], " ") {
			t.Errorf("DESIGN.md names the scenario %q, and nobody plays it", m[1])
		}
	}
	if named < 20 {
		t.Errorf("only %d scenarios are named: the table was not found", named)
	}
}

// testFunctions are the names of all tests of the module.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				out[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
