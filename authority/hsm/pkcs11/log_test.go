//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
)

// testLog keeps the log of a test and fails it when a PIN shows up in there.
func testLog(t testing.TB) *slog.Logger {
	var out lockedBuffer
	t.Cleanup(func() {
		if bytes.Contains(out.bytes(), []byte(hsmtest.UserPIN)) {
			t.Error("the PIN is in the log")
		}
		if t.Failed() {
			t.Logf("log:\n%s", out.bytes())
		}
	})
	return slog.New(slog.NewTextHandler(&out, nil))
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}
