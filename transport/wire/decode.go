package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Decode reads one JSON object of at most limit bytes into v, a pointer to a
// struct of this package. It refuses unknown fields, wrong types, trailing data, a
// name that stands twice, names of the outer object that are not written exactly
// as documented (encoding/json would ignore case) and nesting deeper than
// MaxDepth. No bytes at all count as {}, so that a verb without arguments can be
// called without a body. The error is an *Error with code malformed or too_large,
// or the reader's own.
func Decode(r io.Reader, limit int64, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	if int64(len(b)) > limit {
		return Errorf(TooLarge, "the body has more than %d bytes", limit)
	}
	if len(bytes.TrimLeft(b, " \t\r\n")) == 0 {
		return nil
	}
	return decodeBytes(b, v, true)
}

// DecodeClaims reads the payload of a statement. It is as strict as Decode but for
// unknown fields, because a newer server may say more.
func DecodeClaims(b []byte, v any) error {
	if len(bytes.TrimLeft(b, " \t\r\n")) == 0 {
		return Errorf(Malformed, "there is no JSON object")
	}
	return decodeBytes(b, v, false)
}

func decodeBytes(b []byte, v any, strict bool) error {
	s := scan(b)
	if s.tooDeep {
		return Errorf(Malformed, "the body is nested deeper than %d levels", MaxDepth)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		return describe(err)
	}
	if rest := bytes.TrimLeft(b[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return Errorf(Malformed, "there is something after the JSON object")
	}
	switch {
	case b[s.start] != '{':
		return Errorf(Malformed, "the body is not a JSON object")
	case s.strange != "":
		return Errorf(Malformed, "unknown field %q: names are written in lower case", s.strange)
	case s.twice != "":
		return Errorf(Malformed, "the name %q stands twice in one object", s.twice)
	}
	return nil
}

// describe turns the errors of encoding/json into sentences about the request.
func describe(err error) error {
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &typ) && typ.Field != "":
		return Errorf(Malformed, "field %q: a %s stands where a %s belongs", typ.Field, typ.Value, jsonType(typ.Type.Kind().String()))
	case errors.As(err, &typ):
		return Errorf(Malformed, "the body is a JSON %s, not an object", typ.Value)
	case errors.As(err, &syntax):
		return Errorf(Malformed, "the body is not JSON: %s at byte %d", syntax.Error(), syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return Errorf(Malformed, "the body is cut off in the middle of the JSON")
	}
	// The rest comes from our own UnmarshalText methods, from base64, or is an
	// unknown field, for which encoding/json has no type.
	return Errorf(Malformed, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

func jsonType(kind string) string {
	switch kind {
	case "struct", "map":
		return "object"
	case "slice", "array":
		return "array"
	case "bool":
		return "boolean"
	case "string":
		return "string"
	}
	return "whole number"
}

// scanned is what encoding/json does not tell.
type scanned struct {
	start   int // of the value
	tooDeep bool
	twice   string // a name that stands twice in one object
	strange string // a name of the outer object outside of a-z, 0-9 and _
}

// scan goes over the bytes once, without building anything. Its answer means
// something only if the bytes turn out to be valid JSON; on others it merely ends.
func scan(b []byte) (s scanned) {
	type level struct {
		object bool
		value  bool // in an object: a name was read, its value is due
		names  nameSet
	}
	stack := make([]level, 0, MaxDepth)
	for s.start < len(b) && strings.IndexByte(" \t\r\n", b[s.start]) >= 0 {
		s.start++
	}
	for i := s.start; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if len(stack) == MaxDepth {
				s.tooDeep = true
				return s
			}
			stack = append(stack, level{object: b[i] == '{'})
		case '}', ']':
			if len(stack) == 0 {
				return s
			}
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return s
			}
		case ',':
			if len(stack) > 0 {
				stack[len(stack)-1].value = false
			}
		case '"':
			end := stringEnd(b, i)
			if end < 0 || len(stack) == 0 {
				return s
			}
			top := &stack[len(stack)-1]
			if top.object && !top.value {
				name := plainName(b[i:end])
				if top.names.add(name) && s.twice == "" {
					s.twice = string(name)
				}
				if s.strange == "" && len(stack) == 1 && !documented(name) {
					s.strange = string(name)
				}
				top.value = true
			}
			i = end - 1
		}
	}
	return s
}

// stringEnd is the index behind the closing quote of the string at i, or -1.
func stringEnd(b []byte, i int) int {
	for j := i + 1; j < len(b); j++ {
		switch b[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return -1
}

// plainName undoes escapes, so that "a" and "\u0061" are one name.
func plainName(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return inner
	}
	return []byte(s)
}

// nameSet holds the names of one object. Few are compared one by one; from
// manyNames on a map keeps a hostile object from costing a quadratic search.
type nameSet struct {
	few  [][]byte
	many map[string]bool
}

const manyNames = 32

// someNames do for most objects.
const someNames = 16

// add reports whether the name was there already.
func (n *nameSet) add(name []byte) bool {
	if n.many != nil {
		was := n.many[string(name)]
		n.many[string(name)] = true
		return was
	}
	for _, f := range n.few {
		if bytes.Equal(f, name) {
			return true
		}
	}
	if n.few == nil {
		n.few = make([][]byte, 0, someNames)
	}
	if n.few = append(n.few, name); len(n.few) == manyNames {
		n.many = make(map[string]bool, 2*manyNames)
		for _, f := range n.few {
			n.many[string(f)] = true
		}
	}
	return false
}

// documented reports whether a name is of the alphabet that our field names use.
func documented(name []byte) bool {
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}
