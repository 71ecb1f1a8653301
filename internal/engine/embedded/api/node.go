package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Node is an object of the API: what it was made from, by which field, with which arguments. Making one costs nothing;
// what it stands for is worked out at the leaves.
type Node struct {
	ID     string // the same for the same chain of fields with the same arguments, in one session
	Type   string
	Parent *Node
	Field  string
	Args   Args
}

// Args are a field's arguments by name, defaults filled in. Their types are the schema's, as GraphQL has them.
type Args map[string]any

// Str returns a text; "" if it was not given.
func (a Args) Str(name string) string { s, _ := a[name].(string); return s }

// Flag returns a truth value; false if it was not given.
func (a Args) Flag(name string) bool { b, _ := a[name].(bool); return b }

// List returns a list of texts.
func (a Args) List(name string) []string {
	items, _ := a[name].([]any)
	all := make([]string, 0, len(items))
	for _, i := range items {
		s, _ := i.(string)
		all = append(all, s)
	}
	return all
}

// Num returns an integer argument; given is false if it was not given and has no default.
func (a Args) Num(name string) (n int, given bool) {
	switch v := a[name].(type) {
	case int64:
		return int(v), true
	case int:
		return v, true
	case json.Number:
		i, err := v.Int64()
		return int(i), err == nil
	default:
		return 0, false
	}
}

// Child returns the object that a field of an object is. The same field with the same arguments is the same object.
func (s *Server) Child(parent *Node, typ, field string, args map[string]any) *Node {
	identity := args
	switch {
	case field == "setSecret":
		// Whoever sees the ID must not be able to try out values.
		identity = map[string]any{"name": args["name"], "plaintext": s.Mac(args["plaintext"].(string))}
	case args["noCache"] == true:
		identity = map[string]any{"args": args, "nonce": rand.Text()}
	}
	data, err := json.Marshal([]any{parent.ID, typ, field, identity}) // maps are sorted by key
	if err != nil {
		panic(fmt.Sprintf("arguments of %s: %v", field, err)) // they came from JSON
	}
	sum := sha256.Sum256(data)
	n := &Node{ID: hex.EncodeToString(sum[:]), Type: typ, Parent: parent, Field: field, Args: args}
	known, _ := s.nodes.LoadOrStore(n.ID, n)
	return known.(*Node)
}

// Node returns the object with an ID.
func (s *Server) Node(id string) (*Node, error) {
	n, ok := s.nodes.Load(id)
	if !ok {
		return nil, fmt.Errorf("no object with the ID %q in this session", id)
	}
	return n.(*Node), nil
}

// Must returns the object of an argument that checkIDs has seen.
func (s *Server) Must(id string) *Node {
	n, err := s.Node(id)
	if err != nil {
		panic(err)
	}
	return n
}

// Mac identifies a secret without giving it away, in this session.
func (s *Server) Mac(plaintext string) string {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(plaintext))
	return hex.EncodeToString(m.Sum(nil))
}

// Hash is a short name for a value of strings, numbers and lists.
func Hash(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // such values always marshal
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
