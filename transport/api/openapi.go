package api

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/transport/wire"
)

type object = map[string]any

func (c *call) openAPI() (any, error) {
	b, err := c.describes()
	return raw{body: b}, err
}

// describe renders the route table as OpenAPI 3.1, with the wire's types as
// schemas.
func describe(list []*route) object {
	d := &describer{schemas: object{}}
	paths := object{}
	for _, r := range list {
		p, ok := paths[r.pattern].(object)
		if !ok {
			p = object{}
			paths[r.pattern] = p
		}
		p[strings.ToLower(r.method)] = d.operation(r)
	}
	d.schema(of[wire.Error]())
	return object{
		"openapi": "3.1.0",
		"info":    object{"title": "Chancery", "version": "1", "description": "Distributed authority for signing keys."},
		"paths":   paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{
			"token": object{"type": "http", "scheme": "bearer"}, "certificate": object{"type": "mutualTLS"}}},
		"security": []object{{"token": []string{}}, {"certificate": []string{}}},
	}
}

type describer struct{ schemas object }

func (d *describer) operation(r *route) object {
	op := object{"operationId": r.name, "summary": r.summary, "responses": object{
		"200":     d.answer(r),
		"default": object{"description": "refused", "content": object{wire.TypeJSON: object{"schema": d.schema(of[wire.Error]())}}},
	}}
	var params []object
	if strings.Contains(r.pattern, "{name}") {
		params = append(params, parameter("path", "name", true))
	}
	for _, q := range r.query {
		p := parameter("query", q, false)
		if q == wire.QueryWait && r.levels != nil {
			p["schema"].(object)["enum"] = r.levels
		}
		if q == wire.QueryWait && r.level != "" {
			p["schema"].(object)["default"] = r.level
		}
		params = append(params, p)
	}
	switch r.kind {
	case change:
		params = append(params, parameter("header", wire.HeaderRequestID, false))
		op["responses"].(object)["202"] = d.answer(r)
	case read:
		for _, h := range []string{wire.HeaderConsistency, wire.HeaderMinIndex, wire.HeaderMinEpoch} {
			params = append(params, parameter("header", h, false))
		}
	case open, entry:
		op["security"] = []object{}
	}
	if r.ifMatch {
		params = append(params, parameter("header", "If-Match", true))
	}
	if params != nil {
		op["parameters"] = params
	}
	if r.in != nil {
		op["requestBody"] = object{"content": object{wire.TypeJSON: object{"schema": d.schema(r.in)}},
			"description": "at most " + strconv.FormatInt(r.limit, 10) + " bytes"}
	}
	return op
}

func (d *describer) answer(r *route) object {
	if r.media != "" {
		return object{"description": "done", "content": object{r.media: object{}}}
	}
	return object{"description": "done", "content": object{wire.TypeJSON: object{"schema": d.schema(r.out)}}}
}

func parameter(in, name string, required bool) object {
	return object{"in": in, "name": name, "required": required, "schema": object{"type": "string"}}
}

// schema describes a type; structs of the wire are named and described once.
func (d *describer) schema(t reflect.Type) object {
	switch t {
	case of[wire.Time]():
		return object{"type": []string{"string", "null"}, "format": "date-time"}
	case of[wire.Text]():
		return object{"type": []string{"string", "null"}}
	case of[json.RawMessage]():
		return object{}
	case of[[]byte]():
		return object{"type": "string", "contentEncoding": "base64"}
	}
	if t.Kind() != reflect.Pointer && (t.Implements(marshaler) || reflect.PointerTo(t).Implements(unmarshaler)) {
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		return d.structure(t)
	}
	return object{"type": "integer"} // the wire has no floats
}

var (
	marshaler   = reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
	unmarshaler = reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()
)

// structure describes a struct under its name; generic ones have the name of what
// they hold.
func (d *describer) structure(t reflect.Type) object {
	name := schemaName(t)
	ref := object{"$ref": "#/components/schemas/" + name}
	if _, ok := d.schemas[name]; ok {
		return ref
	}
	d.schemas[name] = object{} // breaks the circle of types that hold each other
	properties := object{}
	d.fields(t, properties)
	d.schemas[name] = object{"type": "object", "properties": properties}
	return ref
}

func (d *describer) fields(t reflect.Type, properties object) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			d.fields(f.Type, properties)
		case f.IsExported() && name != "-" && name != "":
			properties[name] = d.schema(f.Type)
		}
	}
}

func schemaName(t reflect.Type) string {
	name, rest, generic := strings.Cut(t.Name(), "[")
	if generic {
		rest = strings.TrimSuffix(rest, "]")
		return name + "Of" + rest[strings.LastIndexByte(rest, '.')+1:]
	}
	if t.PkgPath() != of[wire.Error]().PkgPath() {
		pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
		return pkg + "." + name
	}
	return name
}
