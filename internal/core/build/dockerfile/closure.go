package dockerfile

import (
	"cmp"
	"encoding/csv"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
)

// Closure is what a stage is made of, directly and through other stages.
type Closure struct {
	// Stages are the stage and those that it takes something from, in the order of the file.
	Stages []Stage
	// Images are the images of registries that it is made from, with their variables replaced, sorted.
	Images []string
	// Args are the values of the build arguments that reach it: those that are given, and those of ARG instructions before
	// the first FROM. The default values of other ARG instructions stand in Stages.
	Args map[string]string
	// Reads are what instructions read of the build context.
	Reads []Read
	// Secrets and SSH are the ids that its RUN instructions mount, sorted.
	Secrets, SSH []string
	// Nameless are the FROM instructions that name no image with the given build arguments: an engine refuses them.
	Nameless []string
	// Moving are the instructions that take what may be different tomorrow: an ADD from the network without a checksum. A name
	// that cannot be read is among them.
	Moving []string
}

// Read is what an instruction reads of the build context.
type Read struct {
	// Path may have wildcards in it. "." is all of the build context.
	Path string
	// Exclude are patterns, as in .dockerignore, for what is left out of each directory that Path matches. They are relative to
	// the directory. A file that Path matches itself is read.
	Exclude []string
}

// Closure returns what a stage is made of. The given build arguments win over the values of ARG instructions. platform is
// what the image is built for, such as linux/arm64.
func (f File) Closure(target string, args map[string]string, platform string) (Closure, error) {
	start, err := f.Stage(target)
	if err != nil {
		return Closure{}, err
	}
	c := &collector{file: f, given: args, global: f.globals(args, platform), seen: map[int]bool{}, args: map[string]string{}, images: map[string]bool{}, read: map[string]Read{}, secrets: map[string]bool{}, ssh: map[string]bool{}}
	for name, value := range args {
		// These are for the frontend, and need no ARG.
		if strings.HasPrefix(name, "BUILDKIT_") || name == "SOURCE_DATE_EPOCH" {
			c.args[name] = value
		}
	}
	c.visit(start)
	out := Closure{Args: c.args, Images: slices.Sorted(maps.Keys(c.images)), Nameless: c.nameless, Moving: c.moving}
	out.Secrets, out.SSH = slices.Sorted(maps.Keys(c.secrets)), slices.Sorted(maps.Keys(c.ssh))
	for _, at := range slices.Sorted(maps.Keys(c.read)) {
		out.Reads = append(out.Reads, c.read[at])
	}
	for _, i := range slices.Sorted(maps.Keys(c.seen)) {
		out.Stages = append(out.Stages, f.Stages[i])
	}
	return out, nil
}

// globals returns the values that FROM instructions may use.
func (f File) globals(args map[string]string, platform string) map[string]string {
	values := map[string]string{}
	for _, side := range []string{"TARGET", "BUILD"} {
		values[side+"PLATFORM"] = platform
		for i, part := range strings.SplitN(platform, "/", 3) {
			values[side+[]string{"OS", "ARCH", "VARIANT"}[i]] = part
		}
	}
	for _, i := range f.Global {
		for _, arg := range i.Args() {
			name, value, _ := strings.Cut(arg, "=")
			if given, ok := args[name]; ok {
				values[name] = given
			} else if expanded, ok := expand(value, values); ok {
				values[name] = expanded
			}
		}
	}
	return values
}

// expand replaces variables. ok is false where the text uses what is not known, or a form of expression that is not read here.
func expand(text string, values map[string]string) (expanded string, ok bool) {
	text = strings.Trim(text, `"'`)
	known := true
	expanded, err := template.SubstituteWithOptions(text, func(name string) (string, bool) {
		value, ok := values[name]
		known = known && (ok || strings.Contains(text, "{"+name+":-") || strings.Contains(text, "{"+name+"-"))
		return value, ok
	}, template.WithoutLogging)
	return expanded, known && err == nil
}

type collector struct {
	file   File
	given  map[string]string
	global map[string]string
	seen   map[int]bool
	args   map[string]string
	images map[string]bool
	read   map[string]Read // by all that is in it
	moving []string

	nameless     []string
	secrets, ssh map[string]bool
}

// visit adds a stage and what it takes something from.
func (c *collector) visit(n int) {
	if c.seen[n] {
		return
	}
	c.seen[n] = true
	stage := c.file.Stages[n]
	c.uses(stage.From)
	c.uses(stage.Platform)
	from, known := expand(stage.From, c.global)
	before := -1
	if _, err := strconv.Atoi(from); err != nil { // FROM takes names only
		before = c.file.earlier(from, n)
	}
	switch {
	case before >= 0:
		c.visit(before)
	case known && from == "":
		c.nameless = append(c.nameless, "FROM "+stage.From)
		c.moving = append(c.moving, "FROM "+stage.From+": it names no image")
	case !known:
		c.moving = append(c.moving, "FROM "+stage.From+": which image that is cannot be read")
	case from != "scratch":
		c.images[from] = true
	}
	local := map[string]string{}
	maps.Copy(local, c.given)
	for _, i := range stage.Instructions {
		c.instruction(i, local)
	}
}

// uses notes the arguments that a FROM instruction uses.
func (c *collector) uses(text string) {
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		name := m[1]
		value, known := c.global[name]
		if _, noted := c.args[name]; noted || !known || c.builtIn(name) {
			continue
		}
		c.args[name] = value
	}
}

// builtIn reports whether an argument is set from the platform and from nothing else.
func (c *collector) builtIn(name string) bool {
	return !c.file.Declared()[name] && (strings.HasPrefix(name, "TARGET") || strings.HasPrefix(name, "BUILD"))
}

var variable = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)

// instruction adds what an instruction of a stage takes.
func (c *collector) instruction(i Instruction, local map[string]string) {
	switch i.Name {
	case "ONBUILD":
		c.instruction(i.trigger(), local)
	case "ARG":
		for _, arg := range i.Args() {
			c.declare(arg, local)
		}
	case "COPY", "ADD":
		c.copies(i, local)
	case "RUN":
		for _, flag := range i.Flags {
			if mount, ok := strings.CutPrefix(flag, "--mount="); ok {
				c.mount(mount)
			}
		}
	}
}

// declare adds an argument that a stage declares.
func (c *collector) declare(arg string, local map[string]string) {
	name, value, _ := strings.Cut(arg, "=")
	given, isGiven := c.given[name]
	global, isGlobal := c.global[name]
	switch {
	case isGiven:
		c.args[name] = given
	case isGlobal && !c.builtIn(name) && value == "":
		c.args[name], local[name] = global, global
	default:
		if expanded, ok := expand(value, local); ok {
			local[name] = expanded
		}
	}
}

// from adds what a COPY or a mount takes from elsewhere: a stage, or an image.
func (c *collector) from(name string) {
	found := false
	for i, s := range c.file.Stages {
		if s.Name != "" && s.Name == strings.ToLower(name) {
			found = true
			c.visit(i)
		}
	}
	number, err := strconv.Atoi(name)
	switch {
	case found:
	case err == nil && number >= 0 && number < len(c.file.Stages):
		c.visit(number)
	case strings.Contains(name, "$"):
		c.moving = append(c.moving, "from="+name+": which image that is cannot be read")
	case name != "scratch":
		c.images[name] = true
	}
}

// pinned matches a git address that ends in the hash of a commit.
var pinned = regexp.MustCompile(`#[0-9a-f]{40}(:|$)`)

// copies adds the sources of a COPY or an ADD.
func (c *collector) copies(i Instruction, local map[string]string) {
	if from, elsewhere := i.Flag("from"); elsewhere {
		c.from(from)
		return
	}
	words := i.words()
	_, summed := i.Flag("checksum")
	exclude := i.excluded()
	for _, source := range words[:max(len(words)-1, 0)] {
		if strings.HasPrefix(source, "<<") {
			continue
		}
		if i.Name == "ADD" {
			address, known := expand(source, local)
			if strings.HasPrefix(source, "$") && !known || remote(address) {
				if !summed && !pinned.MatchString(address) {
					c.moving = append(c.moving, i.String()+": it has no checksum")
				}
				continue
			}
		}
		c.reads(source, exclude)
	}
}

// excluded returns the patterns of --exclude. It returns none where it is not certain what they leave out: what is read too much
// makes another key, and what is read too little would make a wrong one.
func (i Instruction) excluded() []string {
	if _, parents := i.Flag("parents"); parents {
		return nil // the patterns are then relative to another directory
	}
	var patterns []string
	for _, flag := range i.Flags {
		pattern, ok := strings.CutPrefix(flag, "--exclude=")
		if ok && strings.ContainsAny(pattern, "$\"'\\") {
			return nil
		}
		if ok {
			patterns = append(patterns, pattern)
		}
	}
	return patterns
}

// remote reports whether an ADD takes its source from the network.
func remote(source string) bool {
	return strings.Contains(source, "://") || strings.HasPrefix(source, "git@") || strings.HasPrefix(source, "github.com/")
}

// reads adds a path of the build context. What follows a variable is not known, so all that may be meant is added.
func (c *collector) reads(source string, exclude []string) {
	if strings.ContainsAny(source, `"'\`) {
		source, exclude = ".", nil
	}
	if before, _, found := strings.Cut(source, "$"); found {
		source, exclude = path.Dir(before+"x"), nil
	}
	source = strings.TrimPrefix(path.Clean("/"+source), "/")
	if source == "" {
		source = "."
	}
	c.read[strings.Join(append([]string{source}, exclude...), "\x00")] = Read{source, exclude}
}

// mount adds what RUN --mount takes.
func (c *collector) mount(text string) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return // an engine refuses it
	}
	m := map[string]string{"type": "bind"}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		key = strings.ToLower(key)
		switch key {
		case "src":
			key = "source"
		case "dst", "destination":
			key = "target"
		}
		m[key] = value
	}
	from, elsewhere := m["from"]
	switch kind := strings.ToLower(m["type"]); kind {
	case "bind", "cache":
		switch {
		case elsewhere:
			c.from(from)
		case kind == "bind":
			c.reads(m["source"], nil)
		}
	case "secret":
		c.secrets[cmp.Or(m["source"], m["id"], path.Base(m["target"]))] = true
	case "ssh":
		if m["id"] == "" {
			m["id"] = "default"
		}
		c.ssh[m["id"]] = true
	}
}
