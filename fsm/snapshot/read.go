package snapshot

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Reader reads one snapshot from its beginning to its end.
type Reader struct {
	Header Header // sound as soon as NewReader returned: it has its own SHA-256

	in      *bufio.Reader
	sum     hash.Hash
	check   *Checker
	cluster lifecycle.Cluster
	buf     []byte
}

// NewReader reads the header. It fails with ErrDamaged or ErrNewer, or with the
// error of r.
func NewReader(r io.Reader) (*Reader, error) {
	rd := &Reader{in: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), check: NewChecker()}
	if err := rd.header(); err != nil {
		return nil, fmt.Errorf("read snapshot header: %w", err)
	}
	return rd, nil
}

func (r *Reader) header() error {
	fixed, err := r.take(14)
	if err != nil {
		return err
	}
	if string(fixed[:8]) != magic {
		return fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic)
	}
	version, length := binary.BigEndian.Uint16(fixed[8:]), binary.BigEndian.Uint32(fixed[10:])
	if version != Version {
		return fmt.Errorf("%w (container version %d)", ErrNewer, version)
	}
	if length > maxHeaderBytes {
		return fmt.Errorf("%w: a header of %d bytes", ErrDamaged, length)
	}
	body, err := r.take(int(length))
	if err != nil {
		return err
	}
	body = bytes.Clone(body)
	want := r.sum.Sum(nil)
	got, err := r.take(sha256.Size)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: SHA-256 of the header is %x, the snapshot says %x", ErrDamaged, want, got)
	}
	if err := command.Unmarshal(body, &r.Header); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if r.Header.Format > command.MaxFormat {
		return fmt.Errorf("%w (format %d, this one supports %d)", ErrNewer, r.Header.Format, command.MaxFormat)
	}
	return nil
}

// Rows calls fn for every row and then verifies the whole: until Rows has returned
// nil nothing it handed out may be used. Bytes are valid during the call. Errors of
// fn are returned as they are.
func (r *Reader) Rows(fn func(t state.Table, key string, row []byte) error) error {
	next := 0 // place in state.Tables from which the next table may come
	for {
		mark, err := r.take(1)
		if err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		switch mark[0] {
		case markTable:
			t, err := r.tableName(&next)
			if err == nil {
				err = r.table(t, fn)
			}
			if err != nil {
				return fmt.Errorf("read snapshot: %w", err)
			}
		case markClose:
			if err := r.close(); err != nil {
				return fmt.Errorf("read snapshot: %w", err)
			}
			return nil
		default:
			return fmt.Errorf("read snapshot: %w: mark %q where a table begins", ErrDamaged, mark[0])
		}
	}
}

func (r *Reader) tableName(next *int) (state.Table, error) {
	n, err := r.take(1)
	if err != nil {
		return "", err
	}
	name, err := r.take(int(n[0]))
	if err != nil {
		return "", err
	}
	t := state.Table(name)
	i := slices.Index(state.Tables, t)
	switch {
	case i < 0:
		return "", fmt.Errorf("%w: table %q is unknown here", ErrDamaged, t)
	case i < *next:
		return "", fmt.Errorf("%w: table %q is out of order", ErrDamaged, t)
	}
	*next = i + 1
	return t, nil
}

func (r *Reader) table(t state.Table, fn func(t state.Table, key string, row []byte) error) error {
	var rows uint64
	var last string
	for {
		mark, err := r.take(1)
		if err != nil {
			return err
		}
		switch mark[0] {
		case markEnd:
			n, err := r.take(8)
			if err != nil {
				return err
			}
			if said := binary.BigEndian.Uint64(n); said != rows || rows == 0 {
				return fmt.Errorf("%w: table %s has %d rows, the snapshot says %d", ErrDamaged, t, rows, said)
			}
			return nil
		case markRow:
			key, row, err := r.row()
			if err != nil {
				return err
			}
			if key <= last { // the empty key is refused with it
				return fmt.Errorf("%w: row %s/%q is out of order", ErrDamaged, t, key)
			}
			last = key
			rows++
			if err := r.accept(t, key, row); err != nil {
				return err
			}
			if err := fn(t, key, row); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: mark %q where a row begins", ErrDamaged, mark[0])
		}
	}
}

func (r *Reader) row() (string, []byte, error) {
	head, err := r.take(8)
	if err != nil {
		return "", nil, err
	}
	keyBytes, rowBytes := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	if keyBytes > maxKeyBytes || rowBytes > maxRowBytes {
		return "", nil, fmt.Errorf("%w: a row of %d bytes with a key of %d", ErrDamaged, rowBytes, keyBytes)
	}
	b, err := r.take(int(keyBytes + rowBytes))
	if err != nil {
		return "", nil, err
	}
	return string(b[:keyBytes]), b[keyBytes:], nil
}

func (r *Reader) accept(t state.Table, key string, row []byte) error {
	if t == state.TableCluster {
		if err := command.Unmarshal(row, &r.cluster); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if err := r.check.Row(t, key, row); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// close compares the trailer, then the header with what the rows gave.
func (r *Reader) close() error {
	want := r.sum.Sum(nil)
	got, err := r.take(sha256.Size)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: its SHA-256 is %x, its trailer says %x", ErrDamaged, want, got)
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: bytes follow its trailer", ErrDamaged)
	}
	m, err := r.check.Finish()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	h := headerOf(&m)
	h.ClusterID, h.Format = r.cluster.ID, r.cluster.Format
	if h != r.Header {
		return fmt.Errorf("%w: its header is not that of its rows (entry %d, digest %x; the rows are at entry %d with %x)",
			ErrDamaged, r.Header.Index, r.Header.Digest, h.Index, h.Digest)
	}
	return nil
}

// take reads n bytes into the reader's buffer, growing it only by what really
// came, so that a forged length costs nothing.
func (r *Reader) take(n int) ([]byte, error) {
	const step = 64 << 10
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		at := len(r.buf)
		r.buf = slices.Grow(r.buf, min(n-at, step))[:at+min(n-at, step)]
		if _, err := io.ReadFull(r.in, r.buf[at:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, fmt.Errorf("%w: it is cut short", ErrDamaged)
			}
			return nil, err
		}
	}
	r.sum.Write(r.buf)
	return r.buf, nil
}
