package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Position names the state an answer was computed from.
type Position struct {
	Epoch   uint64 `json:"epoch"`
	Index   uint64 `json:"index"`
	LogSize uint64 `json:"log_size"`
	LogRoot []byte `json:"log_root"` // RFC 6962 root over log_size leaves
}

// Less orders positions of one cluster: by epoch, then by index.
func (p Position) Less(q Position) bool {
	if p.Epoch != q.Epoch {
		return p.Epoch < q.Epoch
	}
	return p.Index < q.Index
}

// EventID is the id of the events of an entry, "1-1902", as in the id: line of a
// server-sent event.
func EventID(epoch, index uint64) string {
	return strconv.FormatUint(epoch, 10) + "-" + strconv.FormatUint(index, 10)
}

// ParseEventID reads "1-1902"; a bare "1902" leaves the epoch 0, "any".
func ParseEventID(s string) (epoch, index uint64, err error) {
	e, i, found := strings.Cut(s, "-")
	if !found {
		e, i = "0", s
	}
	epoch, errE := strconv.ParseUint(e, 10, 64)
	index, errI := strconv.ParseUint(i, 10, 64)
	if errE != nil || errI != nil {
		return 0, 0, fmt.Errorf("position %q: write it like 1-1902 (epoch and index) or 1902", s)
	}
	return epoch, index, nil
}

// List is one page. Next is the cursor of the following page, null on the last.
type List[T any] struct {
	Items    []T       `json:"items"`
	Next     Text      `json:"next"`
	Position *Position `json:"position,omitempty"`
	AsOf     Time      `json:"as_of,omitzero"`
}

// MarshalJSON writes an empty page as [], never as null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l.Items == nil {
		l.Items = []T{}
	}
	type plain List[T]
	return json.Marshal(plain(l))
}
