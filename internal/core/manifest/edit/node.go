package edit

import (
	"iter"

	"go.yaml.in/yaml/v3"
)

// at follows keys from a mapping; nil when one is missing.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = value(deref(n), key)
	}
	return n
}

func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i].Kind == yaml.ScalarNode {
			return n.Content[i+1]
		}
	}
	return nil
}

// pair is a key and its value.
type pair struct {
	key       string
	value     *yaml.Node
	inherited bool // through a merge key
}

// pairsOf returns the keys of a mapping with their values: its own in their order, then those that merge keys bring.
func pairsOf(n *yaml.Node) []pair {
	var out []pair
	collectPairs(n, map[string]bool{}, 0, &out)
	return out
}

func collectPairs(n *yaml.Node, seen map[string]bool, depth int, out *[]pair) {
	if n == nil || n.Kind != yaml.MappingNode || depth > 10 {
		return
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
		case key.Tag == "!!merge":
			merges = append(merges, value)
		case !seen[key.Value]:
			seen[key.Value] = true
			*out = append(*out, pair{key.Value, value, depth > 0})
		}
	}
	for _, merge := range merges {
		from := deref(merge)
		if from.Kind != yaml.SequenceNode {
			collectPairs(from, seen, depth+1, out)
			continue
		}
		for _, item := range from.Content {
			collectPairs(deref(item), seen, depth+1, out)
		}
	}
}

// pairs iterates over the keys and values of a mapping, those that merge keys bring included.
func pairs(n *yaml.Node) iter.Seq2[string, *yaml.Node] {
	return func(yield func(string, *yaml.Node) bool) {
		for _, p := range pairsOf(n) {
			if !yield(p.key, p.value) {
				return
			}
		}
	}
}

// merged is at for one key, which may also come in through a merge key.
func merged(n *yaml.Node, key string) *yaml.Node {
	if v := at(n, key); v != nil || at(n, "<<") == nil {
		return v
	}
	for k, v := range pairs(deref(n)) {
		if k == key {
			return v
		}
	}
	return nil
}

// scalarAt returns the scalar that stands at a key, behind an alias perhaps, if it is text; nil otherwise.
func scalarAt(n *yaml.Node, key string) *yaml.Node {
	v := at(n, key)
	if target := deref(v); target == nil || target.Kind != yaml.ScalarNode || target.Tag == "!!null" {
		return nil
	}
	return v
}

// deref returns what an alias stands for.
func deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// text is a scalar's value, behind an alias or not; "" for anything else.
func text(n *yaml.Node) string {
	if n = deref(n); n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// isScalar reports whether a node is a scalar, behind an alias or not.
func isScalar(n *yaml.Node) bool {
	n = deref(n)
	return n != nil && n.Kind == yaml.ScalarNode
}
