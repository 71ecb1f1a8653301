package dockerfile

import (
	"slices"
	"strings"
)

// Arguments returns the names of the ARG instructions of a target and of the stages that it is made from which no ENV
// instruction there sets, sorted, and the image of a registry that the first of those stages is made from; "" for none, and for one
// whose name cannot be read. args and platform are as in [File.Closure].
func (f File) Arguments(target string, args map[string]string, platform string) (names []string, base string, err error) {
	chain, err := f.Chain(target)
	if err != nil {
		return nil, "", err
	}
	declared, set := map[string]bool{}, map[string]bool{}
	for _, stage := range chain {
		for _, i := range stage.Instructions {
			for _, arg := range i.Args() {
				name, _, _ := strings.Cut(arg, "=")
				declared[name] = true
			}
			for _, name := range i.variables() {
				set[name] = true
			}
		}
	}
	for name := range declared {
		if !set[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if base, known := expand(chain[0].From, f.globals(args, platform)); known && base != "scratch" {
		return names, base, nil
	}
	return names, "", nil
}

// variables returns the names that an ENV instruction sets: NAME=VALUE for each, or one as NAME VALUE.
func (i Instruction) variables() (names []string) {
	if i.Name != "ENV" {
		return nil
	}
	for n, word := range shellWords(i.Rest) {
		name, _, pair := strings.Cut(word, "=")
		if n == 0 && !pair {
			return []string{name}
		}
		names = append(names, name)
	}
	return names
}
