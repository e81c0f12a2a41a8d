package lifecycle

//go:generate go test -run TestStateTableInDesign -update-design .

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var updateDesign = flag.Bool("update-design", false, "write the state table into fsm/DESIGN.md")

// stateTable renders the transitions: a row per state, a column per verb.
func stateTable() string {
	var b strings.Builder
	b.WriteString("| state |")
	for _, v := range Verbs {
		b.WriteString(" " + v.String() + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(Verbs)) + "\n")
	for _, s := range States {
		b.WriteString("| **" + s.String() + "** |")
		for _, v := range Verbs {
			cell := "-"
			if v == Resume && s == Suspended {
				cell = "as before"
			} else if next, ok := Next(s, v, 0); ok {
				cell = next.String()
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestStateTableInDesign keeps the table in DESIGN.md the one in the code.
func TestStateTableInDesign(t *testing.T) {
	const file, begin, end = "../DESIGN.md", "<!-- state table: generated, see lifecycle/design_test.go -->\n", "<!-- end of state table -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers for the state table", file)
	}
	want := stateTable()
	if table == want {
		return
	}
	if !*updateDesign {
		t.Fatalf("the state table in %s is not the one in the code; run go generate ./fsm/lifecycle", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
