package state

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var looksLikeKind = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)

// producers are the kinds of leaves that stand in the code of this package.
func producers(t *testing.T) map[string]bool {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, f := range files {
		if name := f.Name(); !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || name == "eventkind.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && looksLikeKind.MatchString(s) {
					out[s] = true
				}
			}
			return true
		})
	}
	delete(out, "ledger.broken") // a code, not a kind
	// What is put together: how far a fence is, and how a proposal ended.
	for _, cause := range []string{"cluster.settings_changed", "instance.lost", "key.revoked", "node.quarantined", "principal.revoked", "token.revoked"} {
		if !out[cause] {
			t.Errorf("nothing makes %s", cause)
		}
		for _, what := range []string{"fenced", "settled"} {
			out[(&lifecycle.Fence{Cause: cause}).Event(what)] = true
		}
	}
	for _, end := range []lifecycle.ProposalStatus{lifecycle.ProposalRejected, lifecycle.ProposalWithdrawn, lifecycle.ProposalExpired, lifecycle.ProposalExecuted} {
		out["proposal."+string(end)] = true
	}
	return out
}

// TestEventKinds: each kind that is promised has a producer, and no producer makes one
// that nobody can ask for.
func TestEventKinds(t *testing.T) {
	made := slices.Sorted(maps.Keys(producers(t)))
	if !slices.Equal(made, eventKinds) {
		for _, k := range made {
			if !slices.Contains(eventKinds, k) {
				t.Errorf("%s is made and not in the table", k)
			}
		}
		for _, k := range eventKinds {
			if !slices.Contains(made, k) {
				t.Errorf("nothing makes %s", k)
			}
		}
		t.Error("the table is not in order, or has a kind twice")
	}
}

// TestCheckEventKind: what the interface names is known, or the answer says why it does
// not come.
func TestCheckEventKind(t *testing.T) {
	const promised = `key.{created,published,activated,suspended,resumed,revoked,fenced,settled,destroyed} instance.{ready,lost,compromised} rotation.{waiting}
		consumer.{confirmed,lapsed} proposal.{opened,approved,rejected,expired} cert.{issued,revoked,expiring} node.{joined,quarantined,removed}`
	for _, list := range strings.Fields(promised) {
		group, names, _ := strings.Cut(strings.TrimSuffix(list, "}"), ".{")
		if err := CheckEventKind(group); err != nil {
			t.Error(err)
		}
		for _, name := range strings.Split(names, ",") {
			if err := CheckEventKind(group + "." + name); err != nil {
				t.Error(err)
			}
		}
	}
	for kind, why := range map[string]string{"hsm": "chancery status", "hsm.missing": "instance.lost", "hsm.orphan": "chancery status", "hsm.locked": "chancery status", "epoch.changed": "restore",
		"key.revokd": "key.revoked", "nonsense": "begin with one of cert, ", "nonsense.x": "begin with one of", "key.": "those of key", "": "begin with one of", "*": "begin with"} {
		if err := CheckEventKind(kind); err == nil || !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}
