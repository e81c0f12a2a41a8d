package command

//go:generate go test -run TestCommandTableInDesign -update-design .

import (
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateDesign = flag.Bool("update-design", false, "write the table of commands into fsm/DESIGN.md")

// sentences are the first sentences of the doc comments of this package's types.
func sentences(t *testing.T) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(fset, files, "command")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, typ := range p.Types {
		out[typ.Name] = p.Synopsis(typ.Doc)
	}
	return out
}

func commandTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| kind | command | what it does |\n|---|---|---|\n")
	said := sentences(t)
	for _, k := range kinds() {
		if said[k.String()] == "" {
			t.Errorf("%s has no doc comment", k)
		}
		fmt.Fprintf(&b, "| %d | `%s` | %s |\n", k, k, strings.TrimPrefix(said[k.String()], k.String()+" "))
	}
	return b.String()
}

// TestCommandTableInDesign keeps the table in DESIGN.md the one in the code.
func TestCommandTableInDesign(t *testing.T) {
	const file, begin, end = "../DESIGN.md", "<!-- commands: generated, see command/design_test.go -->\n", "<!-- end of commands -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers for the commands", file)
	}
	want := commandTable(t)
	if table == want {
		return
	}
	if !*updateDesign {
		t.Fatalf("the commands in %s are not those in the code; run go generate ./fsm/command", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
