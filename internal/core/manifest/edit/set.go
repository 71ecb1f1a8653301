package edit

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Set sets every reference in content that target names. Name is the file's: its base tells a kustomization, Helm
// values and .argocd-source files apart. Matching nothing is no error here.
func Set(name string, content []byte, target Target) (*Result, error) {
	w, err := target.Wanted()
	if err != nil {
		return nil, fault.Usage(err)
	}
	w.keys = nil // they are for files by their path
	u, err := Read(name, name, content, Reading{Traces: w.Traces()})
	if err != nil {
		return nil, err
	}
	w.HostRequired = u.StandsOwn(w)
	return Apply(name, name, content, w, Setting{})
}

// StandsOwn reports whether an image with the target's own host stands in a unit.
func (u *Unit) StandsOwn(w Wanted) bool {
	found := false
	u.each(func(_ *Unit, _ *finder, s site) { found = found || slices.ContainsFunc(s.names(), w.own) })
	return found
}

// Setting is what a directory knows about one of its files.
type Setting struct {
	Governed map[string]bool // repositories that kustomizations set in what they read from this file: they stay
	Pins     []string        // repositories to add to this kustomization's images:
	Keys     []Keys
	Below    Layers
}

// planned is a reference that is to be set.
type planned struct {
	unit *Unit
	site site
	ops  []op
	from ref.Ref
	at   int // its offset in the file
}

// Apply is Set for a target made ready, with another name for messages and changes.
func Apply(name, shown string, content []byte, w Wanted, how Setting) (*Result, error) {
	reading := Reading{Traces: w.Traces(), Below: how.Below, Keys: how.Keys}
	u, err := Read(name, shown, content, reading)
	if err != nil {
		return nil, err
	}
	c := &change{Wanted: w, Setting: how, root: u, result: &Result{Content: content}}
	if err := c.plan(); err != nil {
		return nil, err
	}
	if len(c.planned) > 0 || len(c.Pins) > 0 {
		if err := u.locked(); err != nil {
			return nil, err
		}
		if err := c.edit(); err != nil {
			return nil, err
		}
	}
	after := u
	if len(u.splices) > 0 {
		if after, err = Read(name, shown, c.result.Content, reading); err != nil {
			return nil, err
		}
		if err := c.verify(after); err != nil {
			return nil, err
		}
	}
	c.result.Remaining = after.remaining(w, how.Governed)
	return c.result, nil
}

// change is one run of set.
type change struct {
	Wanted
	Setting
	root    *Unit
	result  *Result
	planned []planned
	stands  []stand // every reference, in order
}

// stand is a reference before the edit.
type stand struct {
	image string // as it stood; empty where a mapping of values has nothing but nulls
	set   bool   // it is to be set
}

// plan finds the references that are meant, and what to do with each.
func (c *change) plan() error {
	meant := map[*finder]map[site]bool{}
	var failed error
	c.root.each(func(u *Unit, f *finder, s site) {
		if meant[f] == nil {
			meant[f] = f.meant(c.Wanted)
		}
		is := meant[f][s] || u.always[s]
		line := u.position(s.nodes()[0])
		c.result.Seen = append(c.result.Seen, Seen{c.root.name, line, s.image().String(), is, s.satisfied(c.image)})
		c.stands = append(c.stands, stand{image: s.image().String()})
		if !is || failed != nil || !u.editable() {
			return
		}
		c.result.Matched++
		w, isWhole := s.(*whole)
		if isWhole && w.container && c.Governed[s.image().Repository] {
			return
		}
		c.stands[len(c.stands)-1].set = true
		if failed = u.duplicates(s); failed != nil || s.satisfied(c.image) {
			return
		}
		ops, err := s.set(c.image)
		if err != nil {
			failed = fmt.Errorf("%s:%d: %w", c.root.name, line, err)
			return
		}
		at, _ := u.place(s.nodes()[0])
		c.planned = append(c.planned, planned{unit: u, site: s, ops: ops, from: s.image(), at: at})
	})
	return failed
}

// edit makes the planned edits.
func (c *change) edit() (err error) {
	if c.root.pinner, err = c.root.pins(c.Pins, c.image); err != nil {
		return err
	}
	all := map[*Unit][][]op{}
	for _, p := range c.planned {
		all[p.unit] = append(all[p.unit], p.ops)
	}
	targets := map[*Unit]*targets{}
	var changed []planned
	for _, p := range c.planned {
		if targets[p.unit] == nil {
			targets[p.unit] = newTargets(all[p.unit])
		}
		did, err := p.unit.apply(p.ops, targets[p.unit])
		if err != nil {
			return err
		}
		if did > 0 {
			changed = append(changed, p)
		}
	}
	c.planned = changed
	c.result.Matched += len(c.Pins)
	c.result.Content, err = c.root.finish()
	if err != nil {
		return err
	}
	after := &source{name: c.root.name, content: c.result.Content, lines: lineStarts(c.result.Content)}
	for _, p := range c.planned {
		c.result.Changes = append(c.result.Changes, Change{
			File: c.root.name, Line: after.lineAt(c.root.moved(p.at)), From: p.from.String(), To: c.image.String(),
		})
	}
	return nil
}

// verify searches what was written again: each reference that was to be set must be the image, and each other must be
// what it was.
func (c *change) verify(after *Unit) error {
	i := 0
	var failed error
	pinned := after.lastEntries(len(c.Pins))
	after.each(func(u *Unit, _ *finder, s site) {
		line := u.position(s.nodes()[0])
		if e, isEntry := s.(*entry); isEntry && pinned[e.mapping] && s.satisfied(c.image) {
			c.result.Changes = append(c.result.Changes, Change{File: after.name, Line: u.position(at(e.mapping, "name")), To: c.image.String()})
			return
		}
		switch {
		case failed != nil:
		case i >= len(c.stands):
			failed = fmt.Errorf("%s:%d: after the edit there is one reference more, %s; nothing was changed", after.name, line, s.image())
		case c.stands[i].set && !s.satisfied(c.image), !c.stands[i].set && c.stands[i].image != s.image().String():
			failed = fmt.Errorf("%s:%d: after the edit the reference here is %s; nothing was changed: name its keys under gitops.images in aksflow.yaml",
				after.name, line, s.image())
		}
		i++
	})
	if failed == nil && i != len(c.stands) {
		failed = fmt.Errorf("%s: after the edit there are %d references where there were %d; nothing was changed", after.name, i, len(c.stands))
	}
	slices.SortStableFunc(c.result.Changes, func(a, b Change) int { return a.Line - b.Line })
	return failed
}

// lastEntries returns the last n items of a kustomization's images:.
func (u *Unit) lastEntries(n int) map[*yaml.Node]bool {
	last := map[*yaml.Node]bool{}
	if n == 0 || len(u.docs) == 0 || len(u.docs[0].Content) == 0 {
		return last
	}
	if list := deref(at(u.docs[0].Content[0], "images")); list != nil && len(list.Content) >= n {
		for _, item := range list.Content[len(list.Content)-n:] {
			last[item] = true
		}
	}
	return last
}

// duplicates refuses a reference in a mapping that has one of its keys twice: which of them counts depends on who reads
// it.
func (u *Unit) duplicates(s site) error {
	above := map[*yaml.Node]*yaml.Node{}
	for _, doc := range u.docs {
		collectAbove(doc, above)
	}
	for _, n := range s.nodes() {
		for child, n := n, above[n]; n != nil; child, n = n, above[n] {
			if n.Kind != yaml.MappingNode {
				continue
			}
			first := map[string]*yaml.Node{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := n.Content[i]
				twice := first[key.Value]
				if twice != nil && key.Tag != "!!merge" && (isScalar(child) || n.Content[i+1] == child || value(n, key.Value) == child) {
					return fault.Usagef("%s:%d: the key %s is here a second time, after line %d, and holds the image: remove one of the two",
						u.top().name, u.position(key), key.Value, u.position(twice))
				}
				if twice == nil {
					first[key.Value] = key
				}
			}
		}
	}
	return nil
}

// collectAbove notes what each node stands in.
func collectAbove(n *yaml.Node, above map[*yaml.Node]*yaml.Node) {
	for _, child := range n.Content {
		above[child] = n
		collectAbove(child, above)
	}
}
