//go:build cgo && !nopkcs11

package pkcs11

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/chancery-project/chancery/authority/hsm"
)

// logins remembers, per token, which PIN this process has tried. PKCS#11 login is a
// state of the process, not of a session: once logged in, a token accepts any PIN
// unchecked, and a refused PIN offered again takes the token nearer to its lock.
// Only keyed digests are kept.
var logins = struct {
	sync.Mutex
	byToken map[string]*login
	key     [32]byte
}{byToken: map[string]*login{}}

func init() {
	if _, err := rand.Read(logins.key[:]); err != nil {
		panic("pkcs11: no randomness: " + err.Error())
	}
}

type login struct {
	accepted, refused [sha256.Size]byte
	open              int // contexts logged in now
}

func loginOf(m *module, t token) *login {
	name := m.path + "\x00" + t.info.SerialNumber + "\x00" + t.info.Label
	l := logins.byToken[name]
	if l == nil {
		l = &login{}
		logins.byToken[name] = l
	}
	return l
}

func pinDigest(pin []byte) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, logins.key[:])
	mac.Write(pin)
	mac.Sum(sum[:0])
	return sum
}

// lockedError is an hsm.ErrLocked whose text is for the operator alone.
type lockedError struct {
	text  string
	cause error // nil when the token was not asked
}

func (e *lockedError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s (%v)", e.text, e.cause)
	}
	return e.text
}

func (e *lockedError) Is(target error) bool { return target == hsm.ErrLocked }
func (e *lockedError) Unwrap() error        { return e.cause }

// locked builds a lockedError that the token was not asked for.
func locked(format string, args ...any) error {
	return &lockedError{text: fmt.Sprintf(format, args...)}
}

// refusedPIN is what an operator reads after a refused PIN.
func refusedPIN(label string, cause error) error {
	return &lockedError{
		text:  fmt.Sprintf("token '%s' refused the PIN. Not retried, because a token locks after a few attempts. Fix pin_file, then restart.", label),
		cause: cause,
	}
}

// admitPIN says whether this PIN may be offered to the token.
func admitPIN(m *module, t token, pin []byte) error {
	logins.Lock()
	defer logins.Unlock()
	l, sum := loginOf(m, t), pinDigest(pin)
	switch {
	case sum == l.refused:
		return refusedPIN(t.info.Label, nil)
	case l.open > 0 && sum != l.accepted:
		return locked("this process is already logged in to token '%s' with another PIN, so the token would not check this one. Fix pin_file, then restart.", t.info.Label)
	}
	return nil
}

func notePIN(m *module, t token, pin []byte, accepted bool) {
	logins.Lock()
	defer logins.Unlock()
	l := loginOf(m, t)
	if accepted {
		l.accepted = pinDigest(pin)
		l.open++
	} else {
		l.refused = pinDigest(pin)
	}
}

func noteLogout(m *module, t token) {
	logins.Lock()
	defer logins.Unlock()
	loginOf(m, t).open--
}
