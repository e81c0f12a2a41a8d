package ocsp

import "time"

// Tags, class and form included.
const (
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagOID             = 0x06
	tagEnumerated      = 0x0a
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagPrimitive0      = 0x80 // [0] IMPLICIT NULL
	tagPrimitive2      = 0x82
	tagExplicit0       = 0xa0
	tagExplicit1       = 0xa1
	tagExplicit2       = 0xa2
)

// encoder writes DER from its end to its beginning: the length of an element is known
// when its header is written, and nothing is copied twice. An answer with a nonce is
// encoded for each asker, so this is on the hot path.
type encoder struct {
	buffer []byte
	at     int // what is written begins here
}

func newEncoder(buffer []byte) encoder { return encoder{buffer, len(buffer)} }

func (e *encoder) bytes() []byte { return e.buffer[e.at:] }

// size is how much has been written: the mark to wrap from.
func (e *encoder) size() int { return len(e.buffer) - e.at }

// grow makes room for n more bytes in front.
func (e *encoder) grow(n int) {
	if e.at >= n {
		return
	}
	bigger := make([]byte, 2*len(e.buffer)+n)
	at := len(bigger) - e.size()
	copy(bigger[at:], e.bytes())
	e.buffer, e.at = bigger, at
}

// put writes bytes as they are.
func (e *encoder) put(b ...byte) {
	e.grow(len(b))
	e.at -= len(b)
	copy(e.buffer[e.at:], b)
}

// wrap makes one element of what was written since mark.
func (e *encoder) wrap(tag byte, mark int) {
	switch n := e.size() - mark; {
	case n < 0x80:
		e.put(tag, byte(n))
	case n < 0x100:
		e.put(tag, 0x81, byte(n))
	default: // an answer has less than 64 KiB: its parts are bounded
		e.put(tag, 0x82, byte(n>>8), byte(n))
	}
}

func (e *encoder) element(tag byte, content ...byte) {
	mark := e.size()
	e.put(content...)
	e.wrap(tag, mark)
}

func (e *encoder) time(t time.Time) {
	var room [len("20060102150405Z")]byte
	e.element(tagGeneralizedTime, t.UTC().AppendFormat(room[:0], "20060102150405Z")...)
}
