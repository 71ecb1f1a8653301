package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// meta is an object of GraphQL's introspection: it answers a field with nil, a scalar, a meta or a list of them.
// https://spec.graphql.org/October2021/#sec-Introspection
type meta func(field string) any

// introspect answers a selection set on an object of the introspection. SDKs that build their queries from the schema, as
// Python's does, read it whole.
func (q *query) introspect(m meta, set ast.SelectionSet) map[string]any {
	answer := map[string]any{}
	for _, f := range fields(set) {
		switch value := m(f.Name).(type) {
		case meta:
			answer[f.Alias] = q.introspect(value, f.SelectionSet)
		case []meta:
			list := []any{}
			for _, item := range value {
				list = append(list, q.introspect(item, f.SelectionSet))
			}
			answer[f.Alias] = list
		default:
			answer[f.Alias] = value
		}
	}
	return answer
}

// fields are those of a selection set on an object of the only type that it can have.
func fields(set ast.SelectionSet) []*ast.Field {
	var all []*ast.Field
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			all = append(all, s)
		case *ast.InlineFragment:
			all = append(all, fields(s.SelectionSet)...)
		case *ast.FragmentSpread:
			all = append(all, fields(s.Definition.SelectionSet)...)
		}
	}
	return all
}

// metaSchema is __schema.
func metaSchema(field string) any {
	switch field {
	case "__typename":
		return "__Schema"
	case "types":
		types := []meta{}
		for _, name := range slices.Sorted(maps.Keys(Schema.Types)) {
			types = append(types, metaDefinition(Schema.Types[name]))
		}
		return types
	case "queryType":
		return metaDefinition(Schema.Query)
	case "directives":
		directives := []meta{}
		for _, name := range slices.Sorted(maps.Keys(Schema.Directives)) {
			directives = append(directives, metaDirective(Schema.Directives[name]))
		}
		return directives
	}
	return nil // there are no mutations and subscriptions
}

func metaDirective(d *ast.DirectiveDefinition) meta {
	return func(field string) any {
		switch field {
		case "__typename":
			return "__Directive"
		case "name":
			return d.Name
		case "description":
			return text(d.Description)
		case "locations":
			return d.Locations
		case "isRepeatable":
			return d.IsRepeatable
		case "args":
			return metaArguments(d.Arguments)
		}
		return nil
	}
}

// metaDefinition is the __Type of a definition.
func metaDefinition(d *ast.Definition) meta {
	return func(field string) any {
		switch field {
		case "__typename":
			return "__Type"
		case "kind":
			return d.Kind
		case "name":
			return d.Name
		case "description":
			return text(d.Description)
		case "fields":
			return metaFields(d)
		case "interfaces":
			return metaNamed(d.Kind == ast.Object || d.Kind == ast.Interface, d.Interfaces)
		case "possibleTypes":
			var names []string
			for _, possible := range Schema.GetPossibleTypes(d) {
				names = append(names, possible.Name)
			}
			return metaNamed(d.Kind == ast.Interface || d.Kind == ast.Union, names)
		case "enumValues":
			return metaEnum(d)
		case "inputFields":
			if d.Kind != ast.InputObject {
				return nil
			}
			inputs := []meta{}
			for _, f := range d.Fields {
				inputs = append(inputs, metaInput(f.Name, f.Description, f.Type, f.DefaultValue))
			}
			return inputs
		}
		return nil
	}
}

// metaNamed are definitions by their names, nil if there can be none.
func metaNamed(can bool, names []string) any {
	if !can {
		return nil
	}
	all := []meta{}
	for _, name := range names {
		all = append(all, metaDefinition(Schema.Types[name]))
	}
	return all
}

func metaFields(d *ast.Definition) any {
	if d.Kind != ast.Object && d.Kind != ast.Interface {
		return nil
	}
	all := []meta{}
	for _, f := range d.Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		all = append(all, func(field string) any {
			switch field {
			case "__typename":
				return "__Field"
			case "name":
				return f.Name
			case "description":
				return text(f.Description)
			case "args":
				return metaArguments(f.Arguments)
			case "type":
				return metaType(f.Type)
			case "isDeprecated":
				return false
			}
			return nil
		})
	}
	return all
}

func metaEnum(d *ast.Definition) any {
	if d.Kind != ast.Enum {
		return nil
	}
	all := []meta{}
	for _, v := range d.EnumValues {
		all = append(all, func(field string) any {
			switch field {
			case "__typename":
				return "__EnumValue"
			case "name":
				return v.Name
			case "description":
				return text(v.Description)
			case "isDeprecated":
				return false
			}
			return nil
		})
	}
	return all
}

func metaArguments(list ast.ArgumentDefinitionList) []meta {
	all := []meta{}
	for _, a := range list {
		all = append(all, metaInput(a.Name, a.Description, a.Type, a.DefaultValue))
	}
	return all
}

func metaInput(name, description string, typ *ast.Type, value *ast.Value) meta {
	return func(field string) any {
		switch field {
		case "__typename":
			return "__InputValue"
		case "name":
			return name
		case "description":
			return text(description)
		case "type":
			return metaType(typ)
		case "defaultValue":
			if value == nil {
				return nil
			}
			return value.String()
		case "isDeprecated":
			return false
		}
		return nil
	}
}

// metaType is the __Type of a reference to a type, which may be a list and may be required.
func metaType(t *ast.Type) meta {
	wrapper := func(kind string, of *ast.Type) meta {
		return func(field string) any {
			switch field {
			case "__typename":
				return "__Type"
			case "kind":
				return kind
			case "ofType":
				return metaType(of)
			}
			return nil
		}
	}
	switch {
	case t.NonNull:
		optional := *t
		optional.NonNull = false
		return wrapper("NON_NULL", &optional)
	case t.Elem != nil:
		return wrapper("LIST", t.Elem)
	}
	return metaDefinition(Schema.Types[t.NamedType])
}

// text is a description; nil for none.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}
