package state

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Grounds are rows of one View that a decision rests on. Whoever decides again looks
// whether a later View has the very same ones: a row is never written to, only
// replaced, and one that Grounds remember cannot be collected and its memory given to
// another, so the same pointer is the same row. Revisions would not tell that: they
// repeat when a state is restored.
//
// Where the rows stand is worked out once; looking again allocates nothing.
type Grounds struct {
	view *View
	rows []ground
}

type ground struct {
	table Table
	key   string
	row   any // a pointer; never nil
}

// Grounds remembers rows that v handed out. Nil ones are left out: what is not there
// is no ground.
func (v *View) Grounds(rows ...Row) Grounds {
	g := Grounds{view: v, rows: make([]ground, 0, len(rows))}
	for _, r := range rows {
		if r.row != nil {
			g.rows = append(g.rows, ground(r))
		}
	}
	return g
}

// Stand reports whether v has the same rows, all of them. No Grounds stand nowhere.
func (g *Grounds) Stand(v *View) bool {
	if g.view == nil {
		return false
	}
	if v.root.hot == g.view.root.hot {
		return true // no hot row was written since
	}
	for i := range g.rows {
		if row, ok := v.root.hot.get(g.rows[i].table, g.rows[i].key); !ok || row != g.rows[i].row {
			return false
		}
	}
	return true
}

// Row is a row with its place.
type Row struct {
	table Table
	key   string
	row   any
}

func rowOf[T any](t Table, p *T, key func(*T) string) Row {
	if p == nil {
		return Row{}
	}
	return Row{t, key(p), p}
}

// Rows that a right to sign rests on.

func KeyRow(k *lifecycle.Key) Row {
	return rowOf(TableKeys, k, func(k *lifecycle.Key) string { return string(k.ID) })
}

func VersionRow(v *lifecycle.Version) Row {
	return rowOf(TableVersions, v, func(v *lifecycle.Version) string { return versionKey(v.Key, v.Number) })
}

func InstanceRow(i *lifecycle.Instance) Row {
	return rowOf(TableInstances, i, func(i *lifecycle.Instance) string { return instanceKey(i.Key, i.Version, i.Node) })
}

func NodeRow(n *lifecycle.Node) Row {
	return rowOf(TableNodes, n, func(n *lifecycle.Node) string { return string(n.ID) })
}

func PrincipalRow(p *lifecycle.Principal) Row {
	return rowOf(TablePrincipals, p, func(p *lifecycle.Principal) string { return p.Name })
}

func TokenRow(t *lifecycle.Token) Row {
	return rowOf(TableTokens, t, func(t *lifecycle.Token) string { return t.ID })
}
