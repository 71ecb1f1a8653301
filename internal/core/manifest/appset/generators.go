package appset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"go.yaml.in/yaml/v3"
)

// generator is one of an ApplicationSet. Exactly one of its kinds is set; others than these need a cluster or a service.
type generator struct {
	List *struct {
		Elements     []map[string]any
		ElementsYAML string `yaml:"elementsYaml"`
	}
	Git *struct {
		Directories []pattern
		Files       []pattern
		Prefix      string `yaml:"pathParamPrefix"`
		Values      map[string]string
	}
	Matrix *struct{ Generators []yaml.Node }
	Merge  *struct {
		Keys       []string `yaml:"mergeKeys"`
		Generators []yaml.Node
	}
	Selector *yaml.Node

	Others map[string]yaml.Node `yaml:",inline"`
}

type pattern struct {
	Path    string
	Exclude bool
}

// errElsewhere says that a git generator finds nothing here: it may read another repository.
var errElsewhere = errors.New("its git generator finds nothing in this repository")

// generate returns the parameters that a generator makes. known are those of the generators around it.
func (e expander) generate(g generator, known parameters) ([]parameters, error) {
	if g.Selector != nil {
		return nil, errors.New("the selector of its generator is not applied offline")
	}
	switch {
	case g.List != nil && g.List.ElementsYAML == "":
		return e.list(g.List.Elements), nil
	case g.Git != nil && len(g.Git.Directories) > 0:
		return e.directories(g, known)
	case g.Git != nil && len(g.Git.Files) > 0:
		return e.files(g, known)
	case g.Matrix != nil:
		return e.matrix(g.Matrix.Generators, known)
	case g.Merge != nil:
		return e.merge(g.Merge.Keys, g.Merge.Generators, known)
	}
	kinds := slices.DeleteFunc(slices.Sorted(maps.Keys(g.Others)), func(kind string) bool { return kind == "template" })
	if len(kinds) == 0 {
		kinds = []string{"list"}
	}
	return nil, fmt.Errorf("its generator %s is not expanded offline", strings.Join(kinds, ", "))
}

// child decodes a generator in another one, with the parameters of those before it filled in.
func (e expander) child(n *yaml.Node, known parameters) (g generator, err error) {
	if len(known) > 0 {
		if n, err = e.node(n, known); err != nil {
			return g, err
		}
	}
	return g, n.Decode(&g)
}

func (e expander) list(elements []map[string]any) (out []parameters) {
	for _, element := range elements {
		out = append(out, e.own(element))
	}
	return out
}

// own returns the parameters of a mapping: as it is, or each text by its path, such as values.image.tag.
func (e expander) own(content map[string]any) parameters {
	if e.structured {
		return content
	}
	out := parameters{}
	flatten(out, "", content)
	return out
}

func flatten(out parameters, at string, value any) {
	join := func(key string) string {
		if at == "" {
			return key
		}
		return at + "." + key
	}
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			flatten(out, join(key), child)
		}
	case []any:
		for i, child := range v {
			flatten(out, join(fmt.Sprint(i)), child)
		}
	default:
		out[at] = fmt.Sprint(v)
	}
}

// directories returns a set of parameters for each directory that the patterns match.
func (e expander) directories(g generator, known parameters) (out []parameters, err error) {
	err = fs.WalkDir(e.repository, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir() || name == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir // Argo CD leaves out what is hidden
		}
		if !matches(g.Git.Directories, name, path.Match) {
			return nil
		}
		p, err := e.placed(g, name, "", nil, known)
		out = append(out, p)
		return err
	})
	if err == nil && len(out) == 0 {
		err = errElsewhere
	}
	return out, err
}

// files returns the parameters that each file has which the patterns match: a mapping, or a list of mappings.
func (e expander) files(g generator, known parameters) (out []parameters, err error) {
	err = fs.WalkDir(e.repository, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !matches(g.Git.Files, name, doublestar.Match) {
			if d != nil && d.IsDir() && d.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		data, err := fs.ReadFile(e.repository, name)
		if err != nil {
			return err
		}
		var one map[string]any
		var many []map[string]any
		if yaml.Unmarshal(data, &one) == nil {
			many = []map[string]any{one}
		} else if err := yaml.Unmarshal(data, &many); err != nil {
			return fmt.Errorf("%s: its git generator reads a mapping or a list of mappings: %w", name, err)
		}
		for _, content := range many {
			p, err := e.placed(g, path.Dir(name), path.Base(name), content, known)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = errElsewhere
	}
	return out, err
}

// matches reports whether a pattern takes a path and none leaves it out.
func matches(patterns []pattern, name string, match func(pattern, name string) (bool, error)) bool {
	taken := false
	for _, p := range patterns {
		if ok, err := match(p.Path, name); err == nil && ok {
			if p.Exclude {
				return false
			}
			taken = true
		}
	}
	return taken
}

// placed returns the parameters of a directory, or of a file in it with its content.
func (e expander) placed(g generator, dir, file string, content map[string]any, known parameters) (parameters, error) {
	out := e.own(content).with(nil)
	segments := strings.Split(dir, "/")
	if e.structured {
		at := map[string]any{"path": dir, "basename": path.Base(dir), "basenameNormalized": normalized(path.Base(dir)), "segments": segments}
		if file != "" {
			at["filename"], at["filenameNormalized"] = file, normalized(file)
		}
		if g.Git.Prefix != "" {
			out[g.Git.Prefix] = map[string]any{"path": at}
		} else {
			out["path"] = at
		}
	} else {
		at := "path"
		if g.Git.Prefix != "" {
			at = g.Git.Prefix + ".path"
		}
		out[at], out[at+".basename"], out[at+".basenameNormalized"] = dir, path.Base(dir), normalized(path.Base(dir))
		if file != "" {
			out[at+".filename"], out[at+".filenameNormalized"] = file, normalized(file)
		}
		for i, segment := range segments {
			out[fmt.Sprintf("%s[%d]", at, i)] = segment
		}
	}
	values := map[string]any{}
	for key, text := range g.Git.Values {
		value, err := e.fill(text, known.with(out))
		if err != nil {
			return nil, err
		}
		values[key] = value
		if !e.structured {
			out["values."+key] = value
		}
	}
	if e.structured && len(values) > 0 {
		out["values"] = values
	}
	return out, nil
}

// normalized makes a name of a file one of an object.
func normalized(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Trim(name[:min(len(name), 253)], "-.")
}

// matrix returns each pair of the parameters of two generators. The second may use those of the first.
func (e expander) matrix(generators []yaml.Node, known parameters) ([]parameters, error) {
	if len(generators) != 2 {
		return nil, errors.New("its generator matrix needs two generators")
	}
	first, err := e.child(&generators[0], known)
	if err != nil {
		return nil, err
	}
	outer, err := e.generate(first, known)
	if err != nil {
		return nil, err
	}
	var out []parameters
	for _, one := range outer {
		second, err := e.child(&generators[1], known.with(one))
		if err != nil {
			return nil, err
		}
		inner, err := e.generate(second, known.with(one))
		if err != nil {
			return nil, err
		}
		for _, other := range inner {
			out = append(out, one.with(other))
		}
	}
	return out, nil
}

// merge returns the parameters of the first generator, with those of the others laid over where the keys agree.
func (e expander) merge(keys []string, generators []yaml.Node, known parameters) ([]parameters, error) {
	key := func(p parameters) string {
		var values []string
		for _, k := range keys {
			values = append(values, fmt.Sprint(p[k]))
		}
		return strings.Join(values, "\x00")
	}
	var out []parameters
	for i := range generators {
		g, err := e.child(&generators[i], known)
		if err != nil {
			return nil, err
		}
		all, err := e.generate(g, known)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			out = all
			continue
		}
		for _, more := range all {
			for j := range out {
				if key(out[j]) == key(more) {
					out[j] = out[j].with(more)
				}
			}
		}
	}
	return out, nil
}
