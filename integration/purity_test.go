package integration

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// The packages below run inside Apply on every replica, now and when the log is
// replayed years later. The same input must give the same output, so they have no
// clock, no randomness, no I/O, no goroutine, no lock, no float, no map order and
// no variable that one call leaves for the next.
var purePackages = []struct {
	folder string
	also   []string // imports beyond pureImports, with a reason in the comment
}{
	{folder: "fsm/lifecycle"},
	{folder: "fsm/command", also: []string{
		modulePath + "/fsm/lifecycle",
		"github.com/fxamacker/cbor/v2", // the one codec, in Core Deterministic mode
	}},
	{folder: "fsm/state", also: []string{
		modulePath + "/fsm/lifecycle", modulePath + "/fsm/command", modulePath + "/fsm/sshsig",
		modulePath + "/fsm/tree",      // the hot tables, persistent and ordered
		"golang.org/x/mod/sumdb/tlog", // RFC 6962 hashes
	}},
	{folder: "fsm/tree"},
	{folder: "fsm/sshsig", also: []string{
		"crypto/ecdsa", "crypto/ed25519", "crypto/elliptic", "crypto/sha512", // verification only, see drawsRandomness
		"math/big",
	}},
}

// pureImports are packages without hidden input. What they offer beside, such as
// fmt's printing, is looked for call by call.
var pureImports = []string{
	"bytes", "cmp", "crypto/aes", "crypto/cipher", "crypto/sha256", "encoding", "encoding/base64", "encoding/binary", "encoding/hex", "errors", "fmt", "iter",
	"maps", "math/bits", "slices", "strconv", "strings", "unicode/utf8",
}

// impureFunctions of allowed packages, by full name, with what is wrong.
var impureFunctions = map[string]string{
	"fmt.Print": "writes", "fmt.Printf": "writes", "fmt.Println": "writes",
	"fmt.Scan": "reads", "fmt.Scanf": "reads", "fmt.Scanln": "reads",
	"fmt.Fprint": "writes", "fmt.Fprintf": "writes", "fmt.Fprintln": "writes",
	"crypto/ecdsa.GenerateKey": "draws randomness", "crypto/ecdsa.Sign": "draws randomness", "crypto/ecdsa.SignASN1": "draws randomness",
	"crypto/cipher.NewGCMWithRandomNonce": "draws randomness",
	"crypto/ed25519.GenerateKey":          "draws randomness", "crypto/elliptic.GenerateKey": "draws randomness",
}

// mapOrder are functions that walk a map in its random order. They are fine as the
// argument of a sort.
var mapOrder = []string{"maps.Keys", "maps.Values", "maps.All"}

var sorts = []string{"slices.Sorted", "slices.SortedFunc", "slices.SortedStableFunc"}

func TestPurity(t *testing.T) {
	for _, p := range purePackages {
		for _, loaded := range load(t, "..", false, "./"+p.folder) {
			if len(loaded.Syntax) == 0 {
				t.Fatalf("%s has no files", p.folder)
			}
			for _, found := range impurities(loaded, append(slices.Clone(pureImports), p.also...)) {
				t.Error(found)
			}
		}
	}
}

// impurities lists what a package does that a pure one must not.
func impurities(p *packages.Package, imports []string) []string {
	c := &purity{pkg: p, imports: imports, sorted: map[ast.Node]bool{}}
	for _, f := range p.Syntax {
		ast.Inspect(f, c.visit)
	}
	return c.found
}

type purity struct {
	pkg     *packages.Package
	imports []string
	sorted  map[ast.Node]bool // calls whose result goes straight into a sort
	found   []string
}

func (c *purity) report(n ast.Node, format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s: %s", c.pkg.Fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
}

func (c *purity) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec:
		if path, err := strconv.Unquote(n.Path.Value); err != nil || !slices.Contains(c.imports, path) {
			c.report(n, "imports %s, which is not on the list", path)
		}
	case *ast.GoStmt:
		c.report(n, "starts a goroutine")
	case *ast.SelectStmt:
		c.report(n, "selects between channels in random order")
	case *ast.ChanType:
		c.report(n, "has a channel")
	case *ast.RangeStmt:
		if isMap(c.pkg.TypesInfo.TypeOf(n.X)) {
			c.report(n, "ranges over a map in random order")
		}
		c.assigned(n.Key)
		c.assigned(n.Value)
	case *ast.AssignStmt:
		for _, left := range n.Lhs {
			if n.Tok != token.DEFINE {
				c.assigned(left)
			}
		}
	case *ast.IncDecStmt:
		c.assigned(n.X)
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			c.shared(n.X)
		}
	case *ast.CallExpr:
		c.call(n)
	case *ast.SelectorExpr:
		c.method(n)
	case *ast.Ident:
		c.name(n)
	case ast.Expr:
		c.float(n)
	}
	return true
}

// call marks the arguments of sorts, and finds map walks outside of them and the
// builtins that write.
func (c *purity) call(n *ast.CallExpr) {
	name := c.fullName(n.Fun)
	switch {
	case slices.Contains(sorts, name) && len(n.Args) > 0:
		c.sorted[n.Args[0]] = true
	case slices.Contains(mapOrder, name) && !c.sorted[n]:
		c.report(n, "walks a map in random order with %s; sort what it gives: slices.Sorted(%s(m))", name, name)
	}
	if id, ok := ast.Unparen(n.Fun).(*ast.Ident); ok {
		if b, ok := c.pkg.TypesInfo.Uses[id].(*types.Builtin); ok && strings.HasPrefix(b.Name(), "print") {
			c.report(n, "writes with %s", b.Name())
		}
		if ok && len(n.Args) > 0 && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") {
			c.assigned(n.Args[0])
		}
	}
	c.float(n)
}

// name checks a plain use of an identifier.
func (c *purity) name(n *ast.Ident) {
	if f, ok := c.pkg.TypesInfo.Uses[n].(*types.Func); ok && f.Pkg() != nil && f.Signature().Recv() == nil {
		if why := impureFunctions[f.Pkg().Path()+"."+f.Name()]; why != "" {
			c.report(n, "%s.%s %s", f.Pkg().Path(), f.Name(), why)
		}
	}
	c.float(n)
}

// method finds calls that give a package's variable away by its address.
func (c *purity) method(n *ast.SelectorExpr) {
	s := c.pkg.TypesInfo.Selections[n]
	if s == nil || s.Kind() != types.MethodVal {
		return
	}
	takesPointer := isPointer(s.Obj().(*types.Func).Signature().Recv().Type())
	if takesPointer && !isPointer(s.Recv()) {
		c.shared(n.X)
	}
}

// float finds floating point wherever it has a type, named or not.
func (c *purity) float(n ast.Expr) {
	t := c.pkg.TypesInfo.TypeOf(n)
	if t == nil {
		return
	}
	if b, ok := t.Underlying().(*types.Basic); ok && b.Info()&(types.IsFloat|types.IsComplex) != 0 {
		c.report(n, "uses floating point")
	}
}

// assigned reports a write to a variable of the package, or into it.
func (c *purity) assigned(left ast.Expr) {
	if v := c.packageVar(left); v != nil {
		c.report(left, "changes the package's variable %s", v.Name())
	}
}

func (c *purity) shared(x ast.Expr) {
	if v := c.packageVar(x); v != nil {
		c.report(x, "takes the address of the package's variable %s", v.Name())
	}
}

// packageVar is the package-level variable that an expression writes through, or
// nil.
func (c *purity) packageVar(x ast.Expr) *types.Var {
	for x != nil {
		switch e := ast.Unparen(x).(type) {
		case *ast.Ident:
			v, ok := c.pkg.TypesInfo.Uses[e].(*types.Var)
			if ok && v.Parent() != nil && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return v
			}
			return nil
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.SelectorExpr:
			if _, qualified := c.pkg.TypesInfo.Selections[e]; !qualified {
				x = e.Sel // another package's variable
			} else {
				x = e.X
			}
		default:
			return nil
		}
	}
	return nil
}

// fullName is "import/path.Function" for a call of another package's function,
// generic or not.
func (c *purity) fullName(fun ast.Expr) string {
	fun = ast.Unparen(fun)
	switch e := fun.(type) {
	case *ast.IndexExpr:
		fun = e.X
	case *ast.IndexListExpr:
		fun = e.X
	}
	s, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if f, ok := c.pkg.TypesInfo.Uses[s.Sel].(*types.Func); ok && f.Pkg() != nil {
		return f.Pkg().Path() + "." + f.Name()
	}
	return ""
}

// isMap is true for maps and for type parameters that may stand for one.
func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	switch u := t.Underlying().(type) {
	case *types.Map:
		return true
	case *types.Interface: // also a type parameter's constraint
		for e := range u.EmbeddedTypes() {
			if isMap(e) {
				return true
			}
		}
	case *types.Union:
		for term := range u.Terms() {
			if isMap(term.Type()) {
				return true
			}
		}
	}
	return false
}

func isPointer(t types.Type) bool {
	_, ok := t.Underlying().(*types.Pointer)
	return ok
}
