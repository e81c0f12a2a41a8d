package store
import ("testing";"fmt";"github.com/chancery-project/chancery/fsm/fsmtest";"github.com/chancery-project/chancery/fsm/state";bolt "go.etcd.io/bbolt")
func TestZZSizes(t *testing.T){
 s := open(t, t.TempDir(), Options{})
 script := append([][]byte{fsmtest.Genesis()}, fsmtest.PKI()...)
 apply(t, s, batch(1, script)); index:=uint64(len(script))
 n:=0
 for ; n<32*1200; n+=32 { a,b:=fsmtest.Issue(n,32); for _,e:=range [][]byte{a,b}{ index++; apply(t,s,[]Entry{{Index:index,Data:e}})} }
 z,_:=s.Sizes(); fmt.Printf("n=%d file=%d free=%d per cert %d\n",n,z.FileBytes,z.FreeBytes,z.FileBytes/int64(n))
 s.current.Load().gen.db.View(func(tx *bolt.Tx) error { for _,tb:=range state.Tables { st:=tx.Bucket([]byte(tb)).Stats(); if st.KeyN>1000 { fmt.Printf("%-15s n=%d leafalloc=%d inuse=%d (%.0f%%) branch=%d per cert %d\n",tb,st.KeyN,st.LeafAlloc,st.LeafInuse,100*float64(st.LeafInuse)/float64(st.LeafAlloc),st.BranchAlloc,(st.LeafAlloc+st.BranchAlloc)/n)}}; return nil})
}
