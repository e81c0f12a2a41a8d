package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// maxFileBytes holds MaxSeals orders with texts as long as they may be, six bytes for
// each byte of text that JSON escapes.
const maxFileBytes = MaxSeals * (2*6*command.MaxTextBytes + 512)

// file is the content of the file. A newer program that writes more raises Version.
type file struct {
	Version int              `json:"version"`
	Seals   []lifecycle.Seal `json:"seals"`
}

const fileVersion = 1

func read(path string) ([]lifecycle.Seal, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the seals: %w", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the seals: %w", err)
	}
	seals, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read the seals in %s: %w: %w; the node does not start, because it would sign what it was told not to. Seal it anew after moving the file away", path, ErrDamaged, err)
	}
	return seals, nil
}

// parse accepts exactly what encode writes, byte for byte: two readers of one file
// never see different orders.
func parse(b []byte) ([]lifecycle.Seal, error) {
	if len(b) > maxFileBytes {
		return nil, fmt.Errorf("it has more than %d bytes", maxFileBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var f file
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("it is version %d and this program knows %d", f.Version, fileVersion)
	}
	if len(f.Seals) > MaxSeals {
		return nil, fmt.Errorf("it has %d orders, at most %d are kept", len(f.Seals), MaxSeals)
	}
	ids, keys := map[string]bool{}, map[lifecycle.KeyID]bool{}
	for i := range f.Seals {
		s := &f.Seals[i]
		if err := check(s); err != nil {
			return nil, fmt.Errorf("order %d: %w", i+1, err)
		}
		if ids[s.ID] || keys[s.Key] {
			return nil, fmt.Errorf("order %d stands there twice", i+1)
		}
		ids[s.ID], keys[s.Key] = true, true
	}
	again, err := encode(f.Seals)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("it is not as this program writes it")
	}
	return f.Seals, nil
}

func encode(seals []lifecycle.Seal) ([]byte, error) {
	b, err := json.MarshalIndent(file{fileVersion, seals}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the seals: %w", err)
	}
	return append(b, '\n'), nil
}

// check holds an order to what the cluster will take when it is reported.
func check(s *lifecycle.Seal) error {
	if s.LiftedAt != 0 || s.LiftedBy != "" {
		return errors.New("it was lifted")
	}
	report := command.ReportSeal{Node: anyNode, ID: s.ID, Key: s.Key, Reason: s.Reason, By: s.By, SealedAt: s.At}
	return report.Check()
}

// anyNode is well formed; orders do not name the node they are kept on.
var anyNode = lifecycle.NodeID(strings.Repeat("0", 64))

// write replaces the file.
func (l *List) write(seals []lifecycle.Seal) error {
	b, err := encode(seals)
	if err != nil {
		return err
	}
	if err := l.replace(l.path, b); err != nil {
		return fmt.Errorf("write the seals: %w", err)
	}
	return nil
}
