package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestPurityFindsImpurities marks each line of a synthetic package that must be
// found with its number of findings; every other line must pass.
func TestPurityFindsImpurities(t *testing.T) {
	source := `package p

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"
	"os"   // 1
	"slices"
	"sync" // 1
	"time" // 1
)

var ErrX = errors.New("x")
var table = map[string]int{"a": 1}
var list = []int{1}
var one struct{ n int }
var buffer bytes.Buffer
var mu sync.Mutex

type stamp int64

func pure(m map[string]int) ([]string, int, error) {
	local := map[string]int{}
	local["b"] = table["a"] + list[0] + one.n
	local["b"]++
	delete(local, "b")
	keys := slices.Sorted(maps.Keys(m))
	for i := range list {
		keys[0] = fmt.Sprint(i)
	}
	for i, b := range [3]byte{} {
		keys[i] += string(b)
	}
	b := &bytes.Buffer{}
	b.WriteString("x")
	pointer := &local
	(*pointer)["c"] = 1
	table := 3
	table = 4
	return keys, table, fmt.Errorf("wrapped: %w", ErrX)
}

func clock() stamp { return stamp(time.Now().Unix()) }

func order(m map[string]int) (n int) {
	for range m { // 1
		n++
	}
	for k := range maps.Keys(m) { // 1
		n += len(k)
	}
	keys := slices.Collect(maps.Keys(m)) // 1
	walk := maps.Keys[map[string]int] // 0: not called here
	_ = walk
	return n + len(keys)
}

func generic[M map[string]int](m M) {
	for range m { // 1
	}
}

func concurrent() {
	go order(nil)        // 1
	c := make(chan int)  // 1
	select {             // 1
	case <-c:
	}
}

func memory() {
	table["b"] = 1       // 1
	delete(table, "b")   // 1
	clear(table)         // 1
	copy(list, list)     // 1
	list[0]++            // 1
	one.n = 2            // 1
	ErrX = nil           // 1
	p := &one            // 1
	p.n = 3
	buffer.WriteByte('x') // 1
	mu.Lock()            // 1
	for list[0] = range 3 { // 1
	}
	os.Args[0] = ""      // 1
}

func output(b *bytes.Buffer) {
	fmt.Println("x")     // 1
	print("x")           // 1
	say := fmt.Printf    // 1
	_ = say
	fmt.Fprint(b, "x")   // 1
	_, _ = ecdsa.Sign, 1 // 1
}

func floating(n int) bool {
	return n > 1 && "f"+
		fmt.Sprint(1.5) != "" // 1
}
`
	root := t.TempDir()
	writeModule(t, root, source)
	loaded := load(t, root, false, "./...")
	found := map[int]int{}
	texts := map[int][]string{}
	for _, f := range impurities(loaded[0], append(slices.Clone(pureImports), "crypto/ecdsa")) {
		var line int
		rest := f[strings.Index(f, "p.go:")+len("p.go:"):]
		if _, err := fmt.Sscanf(rest, "%d:", &line); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		found[line]++
		texts[line] = append(texts[line], f)
	}
	for i, text := range strings.Split(source, "\n") {
		want := 0
		if _, comment, ok := strings.Cut(text, "// "); ok {
			if _, err := fmt.Sscanf(comment, "%d", &want); err != nil {
				t.Fatal(err)
			}
		}
		if found[i+1] != want {
			t.Errorf("line %d, %q: %d findings, want %d: %q", i+1, strings.TrimSpace(text), found[i+1], want, texts[i+1])
		}
	}
}
