// Package api answers GraphQL queries: it has the schema of the embedded engine, reads queries and checks them, and keeps
// the objects that they name. What a field means is its caller's affair.
package api

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"sync"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/flight"
)

//go:embed schema.graphql
var schemaText string

// Schema is what the engine serves, and all that it serves.
var Schema = gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphql", Input: schemaText})

// Leaf answers a field whose value is no object.
type Leaf func(ctx context.Context, n *Node, a Args) (any, error)

// Backend says what the fields mean. The names of fields have the form Type.field.
type Backend interface {
	// Leaf returns what answers a field; nil if nothing does.
	Leaf(field string) Leaf
	// Count returns what answers how many objects a field is a list of; nil if nothing does.
	Count(field string) Leaf
	// Hide returns a text without secrets.
	Hide(text string) string
	// Extensions returns what an error tells programs beside its text; nil for nothing.
	Extensions(err error) map[string]any
}

// Server answers queries. It is safe for concurrent use.
type Server struct {
	backend Backend
	base    context.Context
	root    *Node
	nodes   sync.Map // ID -> *Node
	key     []byte   // of Mac
	reads   flight.Group[any]
}

// New returns a server whose answers are a backend's. What several callers wait for ends with ctx.
func New(ctx context.Context, backend Backend) *Server {
	return &Server{backend: backend, base: ctx, root: &Node{ID: "query", Type: "Query"}, key: []byte(rand.Text())}
}

// Do answers one GraphQL request. It implements [graphql.Doer], the SDK's idea of an HTTP client; nothing goes over a
// network. Like an HTTP client it fails, instead of answering, when the request's context ends.
func (s *Server) Do(r *http.Request) (*http.Response, error) { return s.answer(r, false) }

// DoNested is Do for a program in a container of the engine: what would read or write this machine is refused, because to
// such a program the host is its container.
func (s *Server) DoNested(r *http.Request) (*http.Response, error) { return s.answer(r, true) }

func (s *Server) answer(r *http.Request, nested bool) (*http.Response, error) {
	var request struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
		Name      string         `json:"operationName"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, fmt.Errorf("GraphQL request: %w", err)
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	var response struct {
		Data   any           `json:"data"`
		Errors gqlerror.List `json:"errors,omitempty"`
	}
	response.Data, response.Errors = s.query(r.Context(), request.Query, request.Variables, request.Name, nested)
	if err := r.Context().Err(); err != nil && response.Errors != nil {
		return nil, err
	}
	body, err := json.Marshal(response)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       r,
	}, nil
}

// query answers one GraphQL query.
func (s *Server) query(ctx context.Context, text string, variables map[string]any, name string, nested bool) (any, gqlerror.List) {
	doc, err := parser.ParseQuery(&ast.Source{Input: text})
	if err != nil {
		// The parser's message quotes the query, which may hold a secret.
		return nil, gqlerror.List{gqlerror.Errorf("the query is not GraphQL")}
	}
	hide := report.NewScrubber(plaintexts(doc))
	if errs := validator.ValidateWithRules(Schema, doc, rules.NewDefaultRules()); len(errs) > 0 {
		for _, err := range errs {
			err.Message = hide.Text(elsewhere(err.Message))
		}
		return nil, errs
	}
	op := doc.Operations.ForName(name)
	if op == nil || op.Operation != ast.Query {
		return nil, gqlerror.List{gqlerror.Errorf("no query %q in the request", name)}
	}
	values, err := validator.VariableValues(Schema, op, variables)
	if err != nil {
		return nil, gqlerror.List{gqlerror.Errorf("the query's variables do not fit it")}
	}
	q := &query{server: s, variables: values, nested: nested}
	data, err := q.object(ctx, s.root, op.SelectionSet)
	if err != nil {
		return nil, gqlerror.List{s.graphqlError(err)}
	}
	return data, nil
}

// plaintexts returns the secrets that stand in a query.
func plaintexts(doc *ast.QueryDocument) []string {
	var found []string
	var walk func(ast.SelectionSet)
	walk = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if arg := s.Arguments.ForName("plaintext"); arg != nil {
					found = append(found, arg.Value.Raw)
				}
				walk(s.SelectionSet)
			case *ast.InlineFragment:
				walk(s.SelectionSet)
			}
		}
	}
	for _, op := range doc.Operations {
		walk(op.SelectionSet)
	}
	for _, fragment := range doc.Fragments {
		walk(fragment.SelectionSet)
	}
	return found
}

// unknown matches the validator's messages about fields and arguments that are not in the schema.
var unknown = regexp.MustCompile(`^(Cannot query field "\w+" on type "\w+"|Unknown argument "\w+" on field "[\w.]+")`)

// elsewhere gives a message that unknown matches a remedy: a Dagger engine may serve the field or the argument, or another
// version of the API may have it. It returns other messages as they are.
func elsewhere(message string) string {
	what := unknown.FindString(message)
	if what == "" {
		return message
	}
	return what + ": the embedded engine does not have it. If Dagger v0.21 does, run on a Dagger engine (--engine dagger); if not, update the program's SDK to v0.21"
}

// graphqlError makes of an error what goes over the wire.
func (s *Server) graphqlError(err error) *gqlerror.Error {
	g := gqlerror.Errorf("%s", s.backend.Hide(err.Error()))
	g.Extensions = s.backend.Extensions(err)
	return g
}

// query is one query as it is answered.
type query struct {
	server    *Server
	variables map[string]any
	nested    bool // asked by a program in a container
}

// hostFields are those of Query that lead to the caller's machine.
var hostFields = map[string]bool{"host": true, "address": true, "secret": true}

// refuse is why a program in a container may not ask for a field.
func refuse(typ, field string) error {
	if typ == "Query" && hostFields[field] || field == "export" {
		return fmt.Errorf("%s: on the embedded engine, a session in a container (experimentalPrivilegedNesting) reaches neither "+
			"the container's files and variables nor the host's: hand over what is needed as mounts and variables of the container, or run on a Dagger engine (--engine dagger)", field)
	}
	return nil
}

// object answers a selection set on an object.
func (q *query) object(ctx context.Context, n *Node, set ast.SelectionSet) (map[string]any, error) {
	answer := map[string]any{}
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			value, err := q.field(ctx, n, s)
			if err != nil {
				return nil, err
			}
			answer[s.Alias] = value
		case *ast.InlineFragment:
			if err := q.fragment(ctx, n, s.TypeCondition, s.SelectionSet, answer); err != nil {
				return nil, err
			}
		case *ast.FragmentSpread:
			if err := q.fragment(ctx, n, s.Definition.TypeCondition, s.Definition.SelectionSet, answer); err != nil {
				return nil, err
			}
		}
	}
	return answer, nil
}

// fragment adds the answer of a fragment's selection set, if the object is of the type that it is on.
func (q *query) fragment(ctx context.Context, n *Node, on string, set ast.SelectionSet, answer map[string]any) error {
	if on != "" && on != n.Type && on != "Node" {
		return nil
	}
	more, err := q.object(ctx, n, set)
	maps.Copy(answer, more)
	return err
}

func (q *query) field(ctx context.Context, n *Node, f *ast.Field) (any, error) {
	if f.Name == "__typename" {
		return n.Type, nil
	}
	switch f.Name {
	case "__schema":
		return q.introspect(metaSchema, f.SelectionSet), nil
	case "__type":
		d := Schema.Types[fmt.Sprint(f.ArgumentMap(q.variables)["name"])]
		if d == nil {
			return nil, nil
		}
		return q.introspect(metaDefinition(d), f.SelectionSet), nil
	}
	if q.nested {
		if err := refuse(n.Type, f.Name); err != nil {
			return nil, err
		}
	}
	args := f.ArgumentMap(q.variables)
	if err := q.server.checkIDs(f, args); err != nil {
		return nil, err
	}
	if n.Type == "Query" && f.Name == "node" {
		found, err := q.server.Node(fmt.Sprint(args["id"])) // GraphQL lets an ID be a number
		if err != nil {
			return nil, err
		}
		return q.object(ctx, found, f.SelectionSet)
	}
	if isObject := Schema.Types[f.Definition.Type.Name()].Kind == ast.Object; isObject && f.Definition.Type.Elem != nil {
		return q.list(ctx, n, f, args)
	} else if isObject {
		return q.object(ctx, q.server.Child(n, f.Definition.Type.Name(), f.Name, args), f.SelectionSet)
	}
	if f.Name == "id" {
		return n.ID, nil
	}
	leaf := q.server.backend.Leaf(n.Type + "." + f.Name)
	if leaf == nil {
		return nil, fmt.Errorf("field %s.%s stands in the schema and is not implemented", n.Type, f.Name)
	}
	// Those who ask for the same at the same time share the work.
	key := n.ID + " " + f.Name + " " + Hash(args)
	return q.server.reads.Do(ctx, q.server.base, key, func(ctx context.Context) (any, error) {
		return leaf(ctx, n, args)
	})
}

// list answers a selection set on each object of a list. What the objects are made of is asked for once.
func (q *query) list(ctx context.Context, n *Node, f *ast.Field, args Args) (any, error) {
	count := q.server.backend.Count(n.Type + "." + f.Name)
	if count == nil {
		return nil, fmt.Errorf("field %s.%s stands in the schema and is not implemented", n.Type, f.Name)
	}
	length, err := count(ctx, n, args)
	if err != nil {
		return nil, err
	}
	answers := []any{}
	for i := range length.(int) {
		item := q.server.Child(n, f.Definition.Type.Name(), f.Name, map[string]any{"index": i})
		answer, err := q.object(ctx, item, f.SelectionSet)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// checkIDs checks that the arguments which are IDs name objects of the types that the field wants.
func (s *Server) checkIDs(f *ast.Field, args map[string]any) error {
	for _, def := range f.Definition.Arguments {
		expected := def.Directives.ForName("expectedType")
		if expected == nil {
			continue
		}
		want := expected.Arguments.ForName("name").Value.Raw
		for _, id := range ids(args[def.Name]) {
			n, err := s.Node(id)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			if n.Type != want {
				return fmt.Errorf("%s: argument %s wants a %s; this is the ID of a %s", f.Name, def.Name, want, n.Type)
			}
		}
	}
	return nil
}

// ids are the IDs in an argument that is one, or a list of them, or absent.
func ids(arg any) []string {
	switch arg := arg.(type) {
	case nil:
		return nil
	case []any:
		var all []string
		for _, a := range arg {
			all = append(all, ids(a)...)
		}
		return all
	default:
		return []string{fmt.Sprint(arg)} // GraphQL lets an ID be a number; none of ours is
	}
}
