package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// An entry is:
//
//	offset size
//	0      4    magic "CHCY"
//	4      1    envelope version, 1
//	5      2    kind, big endian
//	7      32   SHA-256 of bytes 0..6 and of the body
//	39     -    body: CBOR array [header, command]
const (
	magic       = "CHCY"
	version     = 1
	headerBytes = 4 + 1 + 2 + sha256.Size
)

// ErrCorrupt is returned by Decode for bytes no proposer of ours wrote.
var ErrCorrupt = errors.New("corrupt log entry")

// ErrUnknownKind is returned by Decode for a kind this binary does not know: it is
// older than the entry and must stop.
var ErrUnknownKind = errors.New("unknown command kind")

// RowRef names a row and the revision a plan was made on; 0 = the row was absent.
type RowRef struct {
	Table string `cbor:"1,keyasint"`
	Key   string `cbor:"2,keyasint"`
	Rev   uint64 `cbor:"3,keyasint"`
}

// Header is what every command carries.
type Header struct {
	At            lifecycle.Instant `cbor:"1,keyasint"` // proposer's wall clock
	Actor         string            `cbor:"2,keyasint"` // principal, "node:<name>" or "system"
	Node          lifecycle.NodeID  `cbor:"3,keyasint"` // proposer
	RequestID     string            `cbor:"4,keyasint,omitempty"`
	RequestDigest []byte            `cbor:"5,keyasint,omitempty"` // SHA-256 of the request as asked
	Reads         []RowRef          `cbor:"6,keyasint,omitempty"`
}

// Body is one command. Kind is its number for ever; Check validates everything
// that can be judged without state.
type Body interface {
	Kind() Kind
	Check() error
}

// Command is a decoded entry.
type Command struct {
	Header Header
	Body   Body
	Digest [sha256.Size]byte // of the whole entry, filled by Encode and Decode
}

// Encode writes the entry, and reads it back: once committed, bytes that Decode
// refuses (text that is not UTF-8, a list that is too long) would stop every node.
func (c *Command) Encode() ([]byte, error) {
	b, _, err := c.EncodeTwin()
	return b, err
}

// EncodeTwin is Encode, and returns what was read back as well: a Command of its own
// that shares nothing with c, exactly as Decode would make it from the bytes.
func (c *Command) EncodeTwin() (entry []byte, twin *Command, err error) {
	body := Marshal(wireBody{Header: c.Header, Command: Marshal(c.Body)})
	if n := headerBytes + len(body); n > MaxEntryBytes {
		return nil, nil, fmt.Errorf("encode %s: entry of %d bytes, at most %d are allowed", c.Body.Kind(), n, MaxEntryBytes)
	}
	b := make([]byte, 7, headerBytes+len(body))
	copy(b, magic)
	b[4] = version
	binary.BigEndian.PutUint16(b[5:], uint16(c.Body.Kind()))
	sum := checksum(b, body)
	b = append(append(b, sum[:]...), body...)
	if twin, err = Decode(b); err != nil {
		return nil, nil, fmt.Errorf("encode %s: no node could read the entry: %w", c.Body.Kind(), err)
	}
	c.Digest = twin.Digest
	return b, twin, nil
}

type wireBody struct {
	_       struct{} `cbor:",toarray"`
	Header  Header
	Command cbor.RawMessage
}

// Decode reads an entry. It fails with ErrCorrupt or ErrUnknownKind, and after
// either the node must not go on.
func Decode(b []byte) (*Command, error) {
	if len(b) < headerBytes || len(b) > MaxEntryBytes || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: %d bytes without the envelope of a command", ErrCorrupt, len(b))
	}
	if b[4] != version {
		return nil, fmt.Errorf("%w: envelope version %d", ErrUnknownKind, b[4])
	}
	if sum := checksum(b[:7], b[headerBytes:]); !bytes.Equal(sum[:], b[7:headerBytes]) {
		return nil, fmt.Errorf("%w: SHA-256 is %x, the entry says %x", ErrCorrupt, sum, b[7:headerBytes])
	}
	kind := Kind(binary.BigEndian.Uint16(b[5:]))
	body := New(kind)
	if body == nil {
		return nil, fmt.Errorf("%w %d: the entry was written by a newer version", ErrUnknownKind, kind)
	}
	var w wireBody
	if err := Unmarshal(b[headerBytes:], &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := Unmarshal(w.Command, body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &Command{Header: w.Header, Body: body, Digest: sha256.Sum256(b)}, nil
}

func checksum(prefix, body []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(prefix)
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

// Check validates header and body as far as that needs no state.
func (c *Command) Check() error {
	h := c.Header
	if h.At <= 0 || h.At > MaxInstant {
		return errors.New("the command carries no time, or one past the year 9999")
	}
	if err := text("actor", h.Actor, true); err != nil {
		return err
	}
	if h.Node != "" {
		if err := lifecycle.CheckNodeID(h.Node); err != nil {
			return err
		}
	}
	if err := checkRefs(h.Reads); err != nil {
		return err
	}
	if h.RequestID != "" {
		if _, err := RequestTime(h.RequestID); err != nil {
			return err
		}
		if err := size("request digest", len(h.RequestDigest), sha256.Size, sha256.Size); err != nil {
			return err
		}
	}
	return c.Body.Check()
}

func checkRefs(refs []RowRef) error {
	if err := count("revisions", len(refs), MaxReads); err != nil {
		return err
	}
	for _, r := range refs {
		if err := size("row key", len(r.Table)+len(r.Key), 1, MaxTextBytes); err != nil {
			return err
		}
	}
	return nil
}

// RequestTime reads the time out of a UUIDv7 (RFC 9562 section 5.7), and refuses
// every other text: the state machine forgets requests in the order of their ids.
func RequestTime(id string) (lifecycle.Instant, error) {
	if len(id) != MaxRequestIDSize {
		return 0, notUUIDv7(id)
	}
	var ms int64
	for i := 0; i < len(id); i++ {
		c := id[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return 0, notUUIDv7(id)
			}
			continue
		}
		var d int64
		switch {
		case c >= '0' && c <= '9':
			d = int64(c - '0')
		case c >= 'a' && c <= 'f':
			d = int64(c-'a') + 10
		default:
			return 0, notUUIDv7(id)
		}
		if i < 13 {
			ms = ms<<4 | d
		}
	}
	if id[14] != '7' || (id[19] != '8' && id[19] != '9' && id[19] != 'a' && id[19] != 'b') {
		return 0, notUUIDv7(id)
	}
	return lifecycle.Instant(ms), nil
}

// notUUIDv7 is made only when it is needed: Apply reads the time of several ids an entry.
func notUUIDv7(id string) error {
	return fmt.Errorf("request id %q is not a UUIDv7 in lower case; leave it out and one is made", id)
}
