package embedded

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// node is an object of the API: what it was made from, by which field, with which arguments. Making one costs nothing;
// what it stands for is worked out at the leaves.
type node struct {
	id     string // the same for the same chain of fields with the same arguments, in one session
	typ    string
	parent *node
	field  string
	args   args
}

// args are a field's arguments by name, defaults filled in. Their types are the schema's, as GraphQL has them.
type args map[string]any

func (a args) str(name string) string { s, _ := a[name].(string); return s }
func (a args) flag(name string) bool  { b, _ := a[name].(bool); return b }
func (a args) list(name string) []string {
	items, _ := a[name].([]any)
	all := make([]string, 0, len(items))
	for _, i := range items {
		s, _ := i.(string)
		all = append(all, s)
	}
	return all
}

// num returns an integer argument; given is false if it was not given and has no default.
func (a args) num(name string) (n int, given bool) {
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

// child returns the object that a field of an object is. The same field with the same arguments is the same object.
func (e *Engine) child(parent *node, typ, field string, args map[string]any) *node {
	identity := args
	switch {
	case field == "setSecret":
		// Whoever sees the ID must not be able to try out values.
		identity = map[string]any{"name": args["name"], "plaintext": e.mac(args["plaintext"].(string))}
	case args["noCache"] == true:
		identity = map[string]any{"args": args, "nonce": rand.Text()}
	}
	data, err := json.Marshal([]any{parent.id, typ, field, identity}) // maps are sorted by key
	if err != nil {
		panic(fmt.Sprintf("arguments of %s: %v", field, err)) // they came from JSON
	}
	sum := sha256.Sum256(data)
	n := &node{id: hex.EncodeToString(sum[:]), typ: typ, parent: parent, field: field, args: args}
	known, _ := e.nodes.LoadOrStore(n.id, n)
	return known.(*node)
}

// node returns the object with an ID.
func (e *Engine) node(id string) (*node, error) {
	n, ok := e.nodes.Load(id)
	if !ok {
		return nil, fmt.Errorf("no object with the ID %q in this session", id)
	}
	return n.(*node), nil
}

// must returns the object of an argument that checkIDs has seen.
func (e *Engine) must(id string) *node {
	n, err := e.node(id)
	if err != nil {
		panic(err)
	}
	return n
}

// mac identifies a secret without giving it away, in this session.
func (e *Engine) mac(plaintext string) string {
	m := hmac.New(sha256.New, e.key)
	m.Write([]byte(plaintext))
	return hex.EncodeToString(m.Sum(nil))
}
