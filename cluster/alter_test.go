package cluster

import (
	"encoding/binary"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// update opens a bbolt file of a stopped member and changes it.
func update(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

// alterRow changes a row in the state file of a stopped member, as a bug in Apply
// would have. With the digest made to fit, nothing on this node can tell.
func (m *member) alterRow(token string, fit bool) {
	m.lab.t.Helper()
	update(m.lab.t.(*testing.T), filepath.Join(m.root, "state", "state.db"), func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(state.TableJoinTokens))
		var row lifecycle.JoinToken
		if err := command.Unmarshal(b.Get([]byte(token)), &row); err != nil {
			return err
		}
		row.MACKey[0] ^= 1
		if err := b.Put([]byte(token), command.Marshal(&row)); err != nil {
			return err
		}
		if !fit {
			return nil
		}
		meta := tx.Bucket([]byte(state.TableMeta))
		var fields map[uint64]any
		if err := command.Unmarshal(meta.Get([]byte("meta")), &fields); err != nil {
			return err
		}
		sum, _ := state.Scan(boltRows{tx})
		fields[6] = sum[:] // state's storedMeta.Rows
		return meta.Put([]byte("meta"), command.Marshal(fields))
	})
}

// boltRows is a state.Reader over a transaction.
type boltRows struct{ tx *bbolt.Tx }

func (r boltRows) Get(t state.Table, key string) []byte {
	return r.tx.Bucket([]byte(t)).Get([]byte(key))
}

func (r boltRows) Ascend(t state.Table, from string, fn func(string, []byte) bool) {
	c := r.tx.Bucket([]byte(t)).Cursor()
	for k, v := c.Seek([]byte(from)); k != nil && fn(string(k), v); k, v = c.Next() {
	}
}

// alterEntry changes a stored Raft entry of a stopped member.
func (m *member) alterEntry(index uint64, change func(*raft.Log)) {
	m.lab.t.Helper()
	update(m.lab.t.(*testing.T), filepath.Join(m.root, "raft", "log.db"), func(tx *bbolt.Tx) error {
		var handle codec.MsgpackHandle
		b, key := tx.Bucket([]byte("logs")), binary.BigEndian.AppendUint64(nil, index)
		var entry raft.Log
		if err := codec.NewDecoderBytes(b.Get(key), &handle).Decode(&entry); err != nil {
			return err
		}
		if err := checkEntry(&entry); err != nil {
			return err // this test does not read entries as raft-boltdb writes them
		}
		change(&entry)
		var out []byte
		if err := codec.NewEncoderBytes(&out, &handle).Encode(&entry); err != nil {
			return err
		}
		return b.Put(key, out)
	})
}
