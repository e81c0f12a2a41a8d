package state

import (
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// share makes a row's names parts of its key, or of rows that hold them already, so
// that each is in memory once; the row is the caller's own. It returns the key to put
// the row under. Nothing changes but where strings lie: with a hundred thousand keys,
// their names and kids would take more memory than everything else in the rows.
func (x *hotTx) share(key string, row any) string {
	switch r := row.(type) {
	case *lifecycle.Key:
		sharePart(&r.ID, key)
	case *lifecycle.Version:
		shareStart(&r.Key, key)
	case *lifecycle.Instance:
		shareStart(&r.Key, key)
		shareEnd(&r.Node, key)
	case *lifecycle.Tally:
		shareStart(&r.Key, key)
		shareEnd(&r.Node, key)
		if i, ok := x.get(TableInstances, key); ok {
			sharePart(&r.KID, i.(*lifecycle.Instance).KID)
		}
	case *lifecycle.Confirmation:
		shareStart(&r.Consumer, key)
		shareEnd(&r.Instance, key)
		if rest, ok := strings.CutPrefix(key, r.Consumer+"\x00"); ok {
			shareStart(&r.Key, rest)
		}
	case *NameRow:
		shareEnd(&r.Name, key) // of dependents
	case *KIDRow:
		return x.shareKID(key, r)
	}
	return key
}

func (x *hotTx) shareKID(kid string, r *KIDRow) string {
	i, ok := x.get(TableInstances, instanceKey(r.Key, r.Version, r.Node))
	if ok {
		sharePart(&kid, i.(*lifecycle.Instance).KID)
	}
	if k, ok := x.get(TableKeys, string(r.Key)); ok {
		r.Key = k.(*lifecycle.Key).ID
	}
	if n, ok := x.get(TableNodes, string(r.Node)); ok {
		r.Node = n.(*lifecycle.Node).ID
	}
	return kid
}

// sharePart lets s lie where an equal string does.
func sharePart[S ~string](s *S, where string) {
	if string(*s) == where {
		*s = S(where)
	}
}

// shareStart lets s lie in a string that begins with it.
func shareStart[S ~string](s *S, where string) {
	if strings.HasPrefix(where, string(*s)) {
		*s = S(where[:len(*s)])
	}
}

// shareEnd lets s lie in a string that ends with it.
func shareEnd[S ~string](s *S, where string) {
	if strings.HasSuffix(where, string(*s)) {
		*s = S(where[len(where)-len(*s):])
	}
}
