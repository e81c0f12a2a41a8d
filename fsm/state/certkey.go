package state

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Row keys of certificates are binary: rows of cold tables are never named in commands,
// and a million times twenty bytes saved are worth it.

func serialKey(s lifecycle.Serial) string { return string(s[:]) }

// kidRaw are the 32 bytes of a kid.
func kidRaw(kid string) (string, bool) {
	b, err := base64.RawURLEncoding.DecodeString(kid)
	return string(b), err == nil && len(b) == sha256.Size
}

// kidBytes is kidRaw for a kid out of a row: it passed Check.
func kidBytes(kid string) string {
	b, ok := kidRaw(kid)
	if !ok {
		panic(&Corruption{Err: fmt.Errorf("%q in a row is no kid", kid)})
	}
	return b
}

// kidMark is enough of a kid to pass over rows of others.
func kidMark(kid string) string { return kidBytes(kid)[:8] }

// intentBytes of a row of open intents: a serial and a deadline.
const intentBytes = lifecycle.SerialBytes + 8

func crlKey(kid string, shard uint64) string { return kid + "\x00" + hexNumber(shard) }

func responderKey(kid string, node lifecycle.NodeID) string { return kid + "\x00" + string(node) }

// instantKey sorts like the instants, which are not negative here.
func instantKey(at lifecycle.Instant) string { return number(uint64(max(at, 0))) }

// serialAt is the serial at the end of an index's key.
func serialAt(key string) (s lifecycle.Serial) {
	if len(key) >= len(s) {
		copy(s[:], key[len(key)-len(s):])
	}
	return s
}

// requestKey is a request id, which sorts by time, and who asked.
func requestKey(actor, id string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil {
		return ""
	}
	return string(b) + actor
}

// requestKeyTime is the time in a request id (RFC 9562 section 5.7).
func requestKeyTime(key string) (lifecycle.Instant, error) {
	if len(key) < 16 {
		return 0, errRequestKey
	}
	return lifecycle.Instant(binary.BigEndian.Uint64([]byte(key[:8])) >> 16), nil
}

// revokedRow is what the CRL needs of a revoked certificate: when it ends, and its entry.
func revokedRow(notAfter lifecycle.Instant, entry []byte) []byte {
	return append([]byte(instantKey(notAfter)), entry...)
}

func parseRevokedRow(b []byte) (notAfter lifecycle.Instant, entry []byte) {
	if len(b) < 8 {
		return 0, nil
	}
	return lifecycle.Instant(binary.BigEndian.Uint64(b)), b[8:]
}
