// Package dockerfile reads of a Dockerfile what decides which image it makes: its stages, what they are made from, and
// their instructions. It does not check the Dockerfile: an engine does that.
//
// The grammar is that of https://docs.docker.com/reference/dockerfile/: an instruction goes on after a line that ends in
// the escape character, comments inside it are skipped, and here-documents are not instructions. A "# syntax=" line says nothing
// here: the engines build with a frontend of their own.
package dockerfile

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// File is a Dockerfile.
type File struct {
	// Global are the ARG instructions before the first FROM.
	Global []Instruction
	Stages []Stage
}

// Stage is a FROM and what follows it.
type Stage struct {
	Name         string // in lower case; "" when it has none
	From         string // an image, or the name of a stage before; variables are not replaced
	Platform     string // of --platform; variables are not replaced
	Instructions []Instruction

	body int // the number of lines of the file up to its FROM
}

// Instruction is one instruction.
type Instruction struct {
	Name  string   // in upper case
	Flags []string // such as --from=build
	Rest  string   // what follows the flags, in one line
	Line  int      // where it begins in the file
	// Documents are its here-documents, each with the line that ends it.
	Documents []string
}

// Flag returns the value of a flag, and whether it is there.
func (i Instruction) Flag(name string) (value string, found bool) {
	for _, flag := range i.Flags {
		if key, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "="); key == name {
			return value, true
		}
	}
	return "", false
}

var (
	directiveLine = regexp.MustCompile(`^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$`)
	directives    = []string{"check", "escape", "syntax"}
	// hasDocuments matches the instructions that may have here-documents.
	hasDocuments = regexp.MustCompile(`(?i)^\s*(ONBUILD\s+)?(RUN|COPY|ADD)\s`)
)

// Parse reads a Dockerfile.
func Parse(text []byte) File {
	r := reader{escape: '\\', atTop: true}
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		r.number++
		if len(r.pending) > 0 {
			r.document(line)
		} else {
			r.line(strings.TrimRight(line, "\r\n"))
		}
	}
	r.file.add(r.instruction, r.begins, r.documents, r.escape)
	return r.file
}

// reader reads a Dockerfile line by line.
type reader struct {
	file   File
	number int // of the line
	escape byte
	atTop  bool // only directives were read

	instruction string // as far as it was read
	begins      int    // where it begins
	documents   []string
	pending     []heredoc // the documents that are not complete
}

// document reads a line of a here-document.
func (r *reader) document(line string) {
	last := len(r.documents) - 1
	r.documents[last] += line
	if !r.pending[0].endsWith(line) {
		return
	}
	if r.pending = r.pending[1:]; len(r.pending) > 0 {
		r.documents = append(r.documents, "")
		return
	}
	r.file.add(r.instruction, r.begins, r.documents, r.escape)
	r.instruction, r.documents = "", nil
}

// line reads a line outside of a here-document.
func (r *reader) line(line string) {
	trimmed := strings.TrimSpace(line)
	if r.atTop = r.atTop && r.directive(trimmed); r.atTop || strings.HasPrefix(trimmed, "#") || r.instruction != "" && trimmed == "" {
		return
	}
	if r.instruction == "" {
		r.begins = r.number
	}
	line, more := r.continued(line)
	// A word may go on in the next line. The other space is a part of the texts in images' histories.
	if strings.HasSuffix(r.instruction, " ") || r.instruction != "" && strings.HasPrefix(spaces.Replace(line), " ") {
		r.instruction += " "
	}
	if r.instruction += line; more {
		return
	}
	if r.pending = heredocs(r.instruction); len(r.pending) > 0 {
		r.documents = []string{""}
		return
	}
	if r.file.add(strings.TrimRight(r.instruction, " \t"), r.begins, nil, r.escape) {
		r.file.Stages[len(r.file.Stages)-1].body = r.number
	}
	r.instruction = ""
}

// directive reads a line as a parser directive. It reports whether it is one.
func (r *reader) directive(line string) bool {
	m := directiveLine.FindStringSubmatch(line)
	if m == nil || !slices.Contains(directives, strings.ToLower(m[1])) {
		return false
	}
	if strings.EqualFold(m[1], "escape") {
		r.escape = m[2][0]
	}
	return true
}

// continued reports whether an instruction goes on after a line, which it returns without the escape character that says so. Two
// of these characters say nothing.
func (r *reader) continued(line string) (rest string, more bool) {
	rest, more = strings.CutSuffix(strings.TrimRight(line, " \t"), string(r.escape))
	if !more || strings.HasSuffix(rest, string(r.escape)) {
		return line, false
	}
	return rest, true
}

// WithArg returns the text of the Dockerfile with an ARG instruction at the beginning of each stage.
func (f File) WithArg(text []byte, name, value string) []byte {
	var out []byte
	n, stage := 0, 0
	for line := range strings.Lines(string(text)) {
		n++
		out = append(out, line...)
		if stage < len(f.Stages) && f.Stages[stage].body == n {
			if !strings.HasSuffix(line, "\n") {
				out = append(out, '\n')
			}
			out = fmt.Appendf(out, "ARG %s=%q\n", name, value)
			stage++
		}
	}
	return out
}

// add adds an instruction that is complete and begins in a line. It reports whether the instruction begins a stage.
func (f *File) add(text string, line int, documents []string, escape byte) (stage bool) {
	name, rest, _ := strings.Cut(strings.TrimSpace(spaces.Replace(text)), " ")
	if name == "" {
		return false
	}
	i := Instruction{Name: strings.ToUpper(name), Line: line, Documents: documents}
	rest = strings.TrimSpace(rest)
	for strings.HasPrefix(rest, "--") && i.Name != "CMD" && i.Name != "ENTRYPOINT" {
		var flag string
		flag, rest = nextFlag(rest, escape)
		i.Flags = append(i.Flags, flag)
	}
	i.Rest = rest
	switch {
	case i.Name == "FROM":
		words := strings.Fields(rest)
		s := Stage{}
		if len(words) > 0 {
			s.From = words[0]
		}
		if len(words) == 3 && strings.EqualFold(words[1], "AS") {
			s.Name = strings.ToLower(words[2])
		}
		s.Platform, _ = i.Flag("platform")
		f.Stages = append(f.Stages, s)
	case len(f.Stages) > 0:
		s := &f.Stages[len(f.Stages)-1]
		s.Instructions = append(s.Instructions, i)
	case i.Name == "ARG":
		f.Global = append(f.Global, i)
	}
	return i.Name == "FROM"
}

// Args returns the arguments that an ARG instruction declares: NAME or NAME=DEFAULT.
func (i Instruction) Args() []string {
	if i.Name != "ARG" {
		return nil
	}
	words := shellWords(i.Rest)
	if words == nil { // a quote has no end
		words = strings.Fields(i.Rest)
	}
	return words
}

// Declared returns the names that the Dockerfile declares with ARG, in whichever stage.
func (f File) Declared() map[string]bool {
	names := map[string]bool{}
	add := func(instructions []Instruction) {
		for _, i := range instructions {
			for _, arg := range i.Args() {
				name, _, _ := strings.Cut(arg, "=")
				names[name] = true
			}
		}
	}
	add(f.Global)
	for _, s := range f.Stages {
		add(s.Instructions)
	}
	return names
}

// Stage returns the index of the stage of that name or number; "" is the last one.
func (f File) Stage(target string) (int, error) {
	if target == "" && len(f.Stages) > 0 {
		return len(f.Stages) - 1, nil
	}
	if i := f.earlier(target, len(f.Stages)); i >= 0 {
		return i, nil
	}
	return 0, fault.Usagef("the Dockerfile has no stage %q", target)
}

// earlier returns the index of the stage before the one numbered before that a name or number means, or -1.
func (f File) earlier(name string, before int) int {
	for i := before - 1; i >= 0; i-- {
		if f.Stages[i].Name != "" && f.Stages[i].Name == strings.ToLower(name) {
			return i
		}
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < before {
		return i
	}
	return -1
}

// Chain returns the stages that a target's file system is made of, the first one first: each is made from the one before
// it, and the first from an image.
func (f File) Chain(target string) ([]Stage, error) {
	i, err := f.Stage(target)
	if err != nil {
		return nil, err
	}
	chain := []Stage{f.Stages[i]}
	for {
		// FROM takes names only, and those of stages before it.
		from := f.Stages[i].From
		if _, err := strconv.Atoi(from); err == nil {
			return chain, nil
		}
		if i = f.earlier(from, i); i < 0 {
			return chain, nil
		}
		chain = append([]Stage{f.Stages[i]}, chain...)
	}
}

// History returns the instructions that leave an entry in the history of a target's image, in their order.
func (f File) History(target string) ([]Instruction, error) {
	chain, err := f.Chain(target)
	if err != nil {
		return nil, err
	}
	var all, triggers []Instruction
	for _, s := range chain {
		all = append(all, triggers...)
		triggers = nil
		for _, i := range s.Instructions {
			if i.Name == "ONBUILD" { // it is run by the stages that are made from this one, and not by those that are made from these
				triggers = append(triggers, i.trigger())
			} else {
				all = append(all, i)
			}
		}
	}
	return all, nil
}

// trigger returns the instruction that an ONBUILD has in it.
func (i Instruction) trigger() Instruction {
	inner := File{Stages: []Stage{{}}}
	inner.add(i.Rest, i.Line, i.Documents, '\\')
	if instructions := inner.Stages[0].Instructions; len(instructions) == 1 {
		return instructions[0]
	}
	return Instruction{Line: i.Line} // an engine refuses it
}

// String is the instruction in one line.
func (i Instruction) String() string {
	return strings.Join(slices.DeleteFunc(append(append([]string{i.Name}, i.Flags...), i.Rest), func(s string) bool { return s == "" }), " ")
}

// Sources returns how many sources a COPY or an ADD has; 0 for other instructions.
func (i Instruction) Sources() int {
	if i.Name != "COPY" && i.Name != "ADD" {
		return 0
	}
	return len(i.words()) - 1
}

// words returns the sources and the destination of a COPY or an ADD.
func (i Instruction) words() []string {
	var words []string
	if json.Unmarshal([]byte(i.Rest), &words) != nil {
		words = strings.Fields(i.Rest)
	}
	return words
}

// unpacked are the ends of names of what ADD may unpack.
var unpacked = regexp.MustCompile(`(?i)\.(tar|tgz|tbz2?|txz|gz|bz2|xz|zst)$`)

// FromContext reports whether a COPY or an ADD takes all its files from the build context as they are: not from another
// stage, not from the network, and not out of an archive.
func (i Instruction) FromContext() bool {
	_, elsewhere := i.Flag("from")
	if i.Sources() < 1 || elsewhere {
		return false
	}
	return i.Name == "COPY" || !slices.ContainsFunc(i.words(), func(word string) bool {
		return strings.Contains(word, "://") || strings.HasPrefix(word, "git@") || unpacked.MatchString(word)
	})
}
