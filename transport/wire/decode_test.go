package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestDecodeRefuses(t *testing.T) {
	deep := func(n int) string {
		return `{"claims":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	for _, c := range []struct {
		name, body, want string
		code             Code
	}{
		{"not json", `hello`, "is not JSON", Malformed},
		{"cut off", `{"ttl":"5m"`, "cut off", Malformed},
		{"unknown field", `{"tll":"5m"}`, `unknown field "tll"`, Malformed},
		{"wrong case", `{"TTL":"5m"}`, `"TTL": names are written in lower case`, Malformed},
		{"folded by unicode", "{\"\u212aey\":1}", "unknown field", Malformed},
		{"wrong type", `{"typ":7}`, `field "typ": a number stands where a string belongs`, Malformed},
		{"bad duration", `{"ttl":"soon"}`, `duration "soon"`, Malformed},
		{"array", `[1]`, "an object", Malformed},
		{"null", `null`, "not a JSON object", Malformed},
		{"string", `"x"`, "not an object", Malformed},
		{"trailing", `{"ttl":"5m"} {}`, "after the JSON object", Malformed},
		{"trailing brace", `{"ttl":"5m"}}`, "after the JSON object", Malformed},
		{"twice", `{"ttl":"5m","ttl":"9m"}`, `"ttl" stands twice`, Malformed},
		{"twice escaped", `{"ttl":"5m","t\u0074l":"9m"}`, "stands twice", Malformed},
		{"twice inside", `{"claims":{"sub":"a","sub":"b"}}`, `"sub" stands twice`, Malformed},
		{"twice after a list", `{"claims":[{"a":[1,2],"b":{},"a":0}]}`, `"a" stands twice`, Malformed},
		{"too deep", deep(MaxDepth), "nested deeper than 16", Malformed},
		{"far too deep", deep(100_000), "nested deeper than 16", Malformed},
		{"too large", `{"typ":"` + strings.Repeat("x", 300_000) + `"}`, "more than 262144 bytes", TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v JWTRequest
			err := Decode(strings.NewReader(c.body), 256<<10, &v)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.want) {
				t.Fatalf("Decode(%.60s) = %v, want %s with %q", c.body, err, c.code, c.want)
			}
		})
	}
}

func TestDecodeAccepts(t *testing.T) {
	for _, body := range []string{
		"", " \n", "{}", "\t{ } \r\n",
		`{"claims":{"A":1,"a":2,"b":{"a":[{"a":1},{"a":2}]}},"ttl":"1h30m"}`,
		`{"claims":{"quote \" brace {":"[[[[[[[[[[[[[[[[[[[[[[[["}}`,
		`{"claims":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}`,
	} {
		var v JWTRequest
		if err := Decode(strings.NewReader(body), 1<<20, &v); err != nil {
			t.Errorf("Decode(%q) = %v", body, err)
		}
	}
}

func TestDecodeManyNames(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"claims":{`)
	for i := range 40_000 {
		fmt.Fprintf(&b, `"n%d":1,`, i)
	}
	var v JWTRequest
	if err := Decode(strings.NewReader(b.String()+`"last":1}}`), 1<<20, &v); err != nil {
		t.Fatal(err)
	}
	err := Decode(strings.NewReader(b.String()+`"n17":1}}`), 1<<20, &v)
	if err == nil || !strings.Contains(err.Error(), `"n17" stands twice`) {
		t.Fatalf("a duplicate among many = %v", err)
	}
}

func TestDecodeReaderFails(t *testing.T) {
	err := Decode(iotest.ErrReader(io.ErrClosedPipe), 10, new(JWTRequest))
	if !errors.Is(err, io.ErrClosedPipe) || CodeOf(err) != "" {
		t.Fatalf("err = %v, want the reader's own", err)
	}
}

func TestMergePolicy(t *testing.T) {
	base := lifecycle.DefaultPolicy(lifecycle.ForToken, lifecycle.ES256)
	got, err := MergePolicy(base, []byte(`{"lead":"1s","publish":true,"types":["at+jwt","JWT"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Lead != lifecycle.Second || !got.Publish || got.MaxTTL != base.MaxTTL || len(got.Types) != 2 || got.Inputs[0] != "jws" {
		t.Errorf("merged = %+v", got)
	}
	if base.Types[0] != "JWT" {
		t.Error("the base was written to")
	}
	if _, err := MergePolicy(base, []byte(`{"leed":"1s"}`)); CodeOf(err) != Malformed {
		t.Errorf("an unknown policy field = %v", err)
	}
	if got, err := MergePolicy(base, nil); err != nil || got.Lead != base.Lead {
		t.Errorf("no policy = %+v, %v", got, err)
	}
}

// FuzzDecode: no panic, and whatever is accepted is one JSON object that decodes
// to the same again after encoding.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"message":"aGk=","format":"raw"}`, `{"digest":"AA==","hash":"SHA-256","kid":"x"}`,
		`{"items":[{"message":"aGk="},{"digest":"AA=="}]}`, `{"message":"aGk=","message":""}`, `{"Message":"aGk="}`,
		`{"items":[{"a":{"b":[[[[[[[[[[[[[[[[[[`, `null`, `[]`, `"`, `{"\ud800":1}`, "{\"a\\", "\x00{}", `{} x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v, again SignRequest
		if err := Decode(bytes.NewReader(b), 4096, &v); err != nil {
			return
		}
		if len(bytes.Trim(b, " \t\r\n")) > 0 && !json.Valid(b) {
			t.Fatalf("accepted %q, which is no JSON", b)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(bytes.NewReader(out), 1<<20, &again); err != nil {
			t.Fatalf("accepted %q, but not what it means, %q: %v", b, out, err)
		}
		second, err := json.Marshal(again)
		if err != nil || !bytes.Equal(out, second) {
			t.Fatalf("%q became %q (%v)", out, second, err)
		}
	})
}

// BenchmarkDecode reads the body of a change: some twenty names in two objects.
func BenchmarkDecode(b *testing.B) {
	body, err := json.Marshal(SetPolicy{Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(bytes.NewReader(body), MaxAdminBytes, new(SetPolicy)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	body, err := json.Marshal(SetPolicy{Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if scan(body).tooDeep {
			b.Fatal("too deep")
		}
	}
}
