package tree

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
)

// model is what a tree must hold.
type model map[string]int

// same fails unless the tree holds what the model does, in order, in a sound shape.
func same(t testing.TB, what string, tree Tree[int], want model) {
	t.Helper()
	if tree.root != nil {
		sound(t, tree.root, "", "", tree.gen)
	}
	if tree.Len() != len(want) {
		t.Fatalf("%s: %d values, want %d", what, tree.Len(), len(want))
	}
	keys := slices.Sorted(maps.Keys(want))
	var got []string
	tree.Ascend("", func(key string, v int) bool {
		if v != want[key] {
			t.Fatalf("%s: %q is %d, want %d", what, key, v, want[key])
		}
		got = append(got, key)
		return true
	})
	if !slices.Equal(got, keys) {
		t.Fatalf("%s: keys %q, want %q", what, got, keys)
	}
	for _, key := range keys {
		if v, ok := tree.Get(key); !ok || v != want[key] {
			t.Fatalf("%s: %q gives %d, %v", what, key, v, ok)
		}
		if _, ok := tree.Get(key + "\x00"); ok && want[key+"\x00"] == 0 {
			t.Fatalf("%s: a key is found that was never put", what)
		}
	}
}

// sound checks the shape below a node whose keys lie in [low, high), and returns its
// height. No bound is "".
func sound(t testing.TB, n *node[int], low, high string, gen uint64) int {
	t.Helper()
	if n.size() == 0 || n.size() > most || n.items != nil && n.kids != nil {
		t.Fatalf("a node of %d values and %d kids", len(n.items), len(n.kids))
	}
	if n.gen > gen {
		t.Fatalf("a node of generation %d in a tree of generation %d", n.gen, gen)
	}
	if cap(n.items) > len(n.items) || cap(n.kids) > len(n.kids) {
		t.Fatal("a node has room to spare")
	}
	for i, it := range n.items {
		if it.key < low || high != "" && it.key >= high || i > 0 && it.key <= n.items[i-1].key {
			t.Fatalf("key %q stands outside [%q, %q), or out of order", it.key, low, high)
		}
	}
	height := 0
	for i, k := range n.kids {
		if k.low < low || high != "" && k.low >= high || i > 0 && k.low <= n.kids[i-1].low {
			t.Fatalf("bound %q stands outside [%q, %q), or out of order", k.low, low, high)
		}
		next := high
		if i+1 < len(n.kids) {
			next = n.kids[i+1].low
		}
		h := 1 + sound(t, k.node, k.low, next, gen)
		if i > 0 && h != height {
			t.Fatal("leaves stand at different heights")
		}
		height = h
	}
	return height
}

// TestModel writes at random, in several kinds of order, and keeps old trees: each must
// stay what it was when it was forked.
func TestModel(t *testing.T) {
	for name, key := range map[string]func(*rand.Rand, int) string{
		"random":     func(r *rand.Rand, _ int) string { return fmt.Sprint(r.Intn(3000)) },
		"ascending":  func(_ *rand.Rand, n int) string { return fmt.Sprintf("%06d", n) },
		"descending": func(_ *rand.Rand, n int) string { return fmt.Sprintf("%06d", 100_000-n) },
		"few":        func(r *rand.Rand, _ int) string { return fmt.Sprint(r.Intn(40)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewSource(1))
			var tree Tree[int]
			now := model{}
			var past []Tree[int]
			var were []model
			for n := range 6000 {
				k := key(r, n)
				// Rows come and go: a time of growth, then one of shrinking.
				if shrinking := n/1500%2 == 1; r.Intn(10) < 3 || shrinking && r.Intn(10) < 8 {
					if shrinking && len(now) > 0 && r.Intn(2) == 0 {
						k = slices.Min(slices.Collect(maps.Keys(now)))
					}
					old, existed := tree.Delete(k)
					if want, had := now[k]; existed != had || old != want {
						t.Fatalf("delete %q gives %d, %v", k, old, existed)
					}
					delete(now, k)
				} else {
					old, existed := tree.Put(k, n+1)
					if want, had := now[k]; existed != had || old != want {
						t.Fatalf("put %q gives %d, %v", k, old, existed)
					}
					now[k] = n + 1
				}
				if r.Intn(20) == 0 {
					past, were = append(past, tree), append(were, maps.Clone(now))
					tree = tree.Fork()
				}
				if n%500 == 0 {
					same(t, "the tree", tree, now)
				}
			}
			for i := range past {
				same(t, fmt.Sprint("fork ", i), past[i], were[i])
			}
			for _, k := range slices.Sorted(maps.Keys(now)) {
				tree.Delete(k)
				delete(now, k)
			}
			same(t, "emptied", tree, now)
		})
	}
}

// TestForksOfOne: two forks of one tree know nothing of each other, nor does it of them.
func TestForksOfOne(t *testing.T) {
	var base Tree[int]
	want := model{}
	for n := range 1000 {
		base.Put(fmt.Sprint(n), n)
		want[fmt.Sprint(n)] = n
	}
	a, b := base.Fork(), base.Fork()
	wantA, wantB := maps.Clone(want), maps.Clone(want)
	for n := range 1000 {
		k := fmt.Sprint(n)
		a.Put(k, -n)
		wantA[k] = -n
		b.Delete(k)
		delete(wantB, k)
	}
	same(t, "the base", base, want)
	same(t, "one fork", a, wantA)
	same(t, "the other", b, wantB)
}

func TestAscend(t *testing.T) {
	var tree Tree[int]
	for n := range 500 {
		tree.Put(fmt.Sprintf("a/%03d", n), n)
		tree.Put(fmt.Sprintf("b/%03d", n), n)
	}
	walk := func(scan func(string, func(string, int) bool), at string, most int) (out []string) {
		scan(at, func(key string, _ int) bool {
			out = append(out, key)
			return len(out) < most
		})
		return out
	}
	for _, c := range []struct {
		what  string
		got   []string
		first string
		n     int
	}{
		{"from a key", walk(tree.Ascend, "b/497", 99), "b/497", 3},
		{"from between keys", walk(tree.Ascend, "b/497x", 99), "b/498", 2},
		{"from after the last", walk(tree.Ascend, "c", 99), "", 0},
		{"no more than asked for", walk(tree.Ascend, "a/100", 7), "a/100", 7},
		{"a prefix", walk(tree.AscendPrefix, "a/12", 99), "a/120", 10},
		{"a prefix that ends with the table", walk(tree.AscendPrefix, "b/49", 99), "b/490", 10},
		{"a prefix of nothing", walk(tree.AscendPrefix, "a/x", 99), "", 0},
		{"all", walk(tree.AscendPrefix, "", 9999), "a/000", 1000},
	} {
		if len(c.got) != c.n || c.n > 0 && c.got[0] != c.first || !slices.IsSorted(c.got) {
			t.Errorf("%s: %d keys from %q", c.what, len(c.got), strings.Join(c.got[:min(1, len(c.got))], ""))
		}
	}
}

// FuzzTree reads bytes as writes and forks: two bytes a step, the key and what to do.
func FuzzTree(f *testing.F) {
	f.Add([]byte("a0b0c0a1c2b0a1"))
	f.Add([]byte(strings.Repeat("a0b0c0d1e2f0g0h0i2a1b1", 20)))
	f.Fuzz(func(t *testing.T, steps []byte) {
		var tree, before Tree[int]
		now, was := model{}, model{}
		for n := 0; n+1 < len(steps); n += 2 {
			k := string(steps[n : n+1+n%2])
			switch steps[n+1] % 4 {
			case 0, 3:
				tree.Put(k, n+1)
				now[k] = n + 1
			case 1:
				tree.Delete(k)
				delete(now, k)
			case 2:
				same(t, "before", before, was)
				before, was = tree, maps.Clone(now)
				tree = tree.Fork()
			}
		}
		same(t, "the tree", tree, now)
		same(t, "before", before, was)
	})
}

// BenchmarkPut writes one row into a tree of 300,000 that readers may hold.
func BenchmarkPut(b *testing.B) {
	var tree Tree[any]
	keys := make([]string, 300_000)
	for n := range keys {
		keys[n] = fmt.Sprintf("key-%06d\x000000000000000001\x00%032d", n/3, n%3)
		tree.Put(keys[n], &keys[n])
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		tree = tree.Fork()
		n = (n + 100_003) % len(keys)
		tree.Put(keys[n], &keys[n])
	}
}

func BenchmarkGet(b *testing.B) {
	var tree Tree[any]
	keys := make([]string, 300_000)
	for n := range keys {
		keys[n] = fmt.Sprintf("key-%06d\x000000000000000001\x00%032d", n/3, n%3)
		tree.Put(keys[n], &keys[n])
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = (n + 100_003) % len(keys)
		if _, ok := tree.Get(keys[n]); !ok {
			b.Fatal("lost")
		}
	}
}
