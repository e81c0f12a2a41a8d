package command

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var encMode, decMode = modes()

func modes() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   16,
		MaxArrayElements:  MaxListItems,
		MaxMapPairs:       256,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
}

// Marshal writes a row or a command body: RFC 8949 section 4.2.1, core
// deterministic. It panics on a Go type CBOR cannot express, a programming error.
func Marshal(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encode %T: %w", v, err))
	}
	return b
}

// Unmarshal reads what Marshal wrote and nothing else: v must re-encode to the
// identical bytes, so two nodes can never read one row differently.
func Unmarshal(b []byte, v any) error {
	if err := decMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	if again := Marshal(v); !bytes.Equal(again, b) {
		return fmt.Errorf("decode %T: not in deterministic form (%d bytes read, %d written back)", v, len(b), len(again))
	}
	return nil
}
