package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestTime(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_999_999, time.FixedZone("x", 3600))
	b, err := json.Marshal(AsTime(at))
	if err != nil || string(b) != `"2026-03-04T04:06:07.089Z"` {
		t.Fatalf("marshal = %s, %v", b, err)
	}
	if got := Time(lifecycle.Instant(at.UnixMilli())).String(); got != lifecycle.Instant(at.UnixMilli()).String() {
		t.Errorf("wire and lifecycle write the same instant differently: %s", got)
	}
	var back Time
	if err := json.Unmarshal(b, &back); err != nil || back.Time() != at.UTC().Truncate(time.Millisecond) {
		t.Errorf("unmarshal = %v, %v", back, err)
	}
	if b, _ := json.Marshal(AsTime(time.Time{})); string(b) != "null" {
		t.Errorf("zero = %s", b)
	}
	for _, bad := range []string{`"yesterday"`, `7`, `"1969-12-31T23:59:59Z"`, `"2026-03-04"`, `"2026-03-04T05:06:07"`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was accepted as %s", bad, back)
		}
	}
}

func TestNullsAndLists(t *testing.T) {
	b, _ := json.Marshal(List[int]{})
	if string(b) != `{"items":[],"next":null}` {
		t.Errorf("empty list = %s", b)
	}
	b, _ = json.Marshal(List[int]{Items: []int{1}, Next: "c2"})
	if string(b) != `{"items":[1],"next":"c2"}` {
		t.Errorf("list = %s", b)
	}
	var l List[int]
	if err := json.Unmarshal([]byte(`{"items":[],"next":null}`), &l); err != nil || l.Next != "" {
		t.Errorf("list = %+v, %v", l, err)
	}
	b, _ = json.Marshal(Operation{Verb: "revoke", Nodes: []NodeOutcome{}, StillTrusting: []Dependent{}})
	for _, want := range []string{`"nodes":[]`, `"consumers_still_trusting":[]`, `"reached":""`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("operation %s lacks %s", b, want)
		}
	}
	b, _ = json.Marshal(Operation{Verb: "rotate"})
	if strings.Contains(string(b), "nodes") {
		t.Errorf("an operation without a fence speaks of nodes: %s", b)
	}
}

func TestEventID(t *testing.T) {
	if e, i, err := ParseEventID(EventID(2, 1902)); e != 2 || i != 1902 || err != nil {
		t.Errorf("1-1902 = %d %d %v", e, i, err)
	}
	if e, i, err := ParseEventID("7"); e != 0 || i != 7 || err != nil {
		t.Errorf("7 = %d %d %v", e, i, err)
	}
	for _, bad := range []string{"", "-", "1-", "-1", "a-1", "1-2-3"} {
		if _, _, err := ParseEventID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPath(t *testing.T) {
	if got := Path(PathSign, "ci"); got != "/v1/keys/ci/sign" {
		t.Error(got)
	}
	if got := Path(PathKey, "../x?y"); got != "/v1/keys/..%2Fx%3Fy" {
		t.Error(got)
	}
	if got := Path(PathStatus, "x"); got != PathStatus {
		t.Error(got)
	}
}

// TestCodes walks the table: no code twice, none without a meaning, and every
// code constant of this package and of the state machine stands in it.
func TestCodes(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes {
		if seen[c.Code] || c.Meaning == "" || c.Status < 400 || http.StatusText(c.Status) == "" {
			t.Errorf("row %+v", c)
		}
		if c.Retryable && c.Status < 500 && c.Status != http.StatusConflict && c.Status != http.StatusTooManyRequests &&
			c.Status != http.StatusPreconditionFailed && c.Status != http.StatusRequestTimeout {
			t.Errorf("%s says retry and %d", c.Code, c.Status)
		}
		seen[c.Code] = true
	}
	for _, file := range []string{"code.go", "../../fsm/state/outcome.go"} {
		for name, code := range codeConstants(t, file) {
			if code != "" && !seen[Code(code)] {
				t.Errorf("%s: %s = %q has no row in Codes", file, name, code)
			}
		}
	}
}

// codeConstants reads the constants of type Code out of a Go file.
func codeConstants(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		typ, okType := v.Type.(*ast.Ident)
		lit, okLit := v.Values[0].(*ast.BasicLit)
		if okType && okLit && typ.Name == "Code" {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[v.Names[0].Name] = s
		}
		return true
	})
	if len(out) < 20 {
		t.Fatalf("%s: only %d codes found", file, len(out))
	}
	return out
}

func TestError(t *testing.T) {
	e := Errorf(KeyRevoked, "ci version %d was revoked", 3).WithHint("chancery key rotate %s", "ci")
	b, _ := json.Marshal(e)
	if string(b) != `{"code":"key_revoked","message":"ci version 3 was revoked","hint":"chancery key rotate ci","retryable":false}` {
		t.Errorf("json = %s", b)
	}
	got := ReadError(422, strings.NewReader(string(b)))
	if got.Code != KeyRevoked || got.HTTPStatus() != 422 || !errors.Is(fmt.Errorf("sign: %w", got), &Error{Code: KeyRevoked}) {
		t.Errorf("read back = %+v", got)
	}
	if got := ReadError(502, strings.NewReader("<html>")); !got.Retryable || got.Code != Busy {
		t.Errorf("a proxy's page = %+v", got)
	}
	if got := ReadError(404, strings.NewReader(`{}`)); got.Retryable || got.Code != NotFound {
		t.Errorf("an empty object = %+v", got)
	}
	if Code("from_the_future").Info().Status != 500 || Code("from_the_future").Known() {
		t.Error("an unknown code has a row")
	}
}

// TestEventShape: whatever an event is not about is null, not left out.
func TestEventShape(t *testing.T) {
	b, err := json.Marshal(Event{Data: map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"key", "version", "kid", "serial", "node", "request_id", "before", "after", "reason"} {
		if !bytes.Contains(b, []byte(`"`+field+`":null`)) {
			t.Errorf("%s is not null in %s", field, b)
		}
	}
	var back Event
	if err := json.Unmarshal([]byte(`{"version":null,"kid":null}`), &back); err != nil || back.Version != 0 {
		t.Errorf("%+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"version":3}`), &back); err != nil || back.Version != 3 {
		t.Errorf("%+v, %v", back, err)
	}
}
