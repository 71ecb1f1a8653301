// Package docstest finds the commands of aksflow that the documentation shows, so that tests can run each of them: a
// command that nobody ran is one that does not work.
package docstest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Command is a command of aksflow on a page.
type Command struct {
	Page string
	// Words follow aksflow itself. Some stand for others: …, NAME, "$USER".
	Words []string
}

func (c Command) String() string { return c.Page + ": aksflow " + strings.Join(c.Words, " ") }

var (
	shellBlock  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	inlineCode  = regexp.MustCompile("`(?:source <\\()?(aksflow [^`)]+)\\)?`")
	placeholder = regexp.MustCompile(`[…"'$*]|^[A-Z]+(/[A-Z]+)?$`)
)

// Commands returns the commands on all pages of a repository: in blocks of shell, and between backquotes.
func Commands(root string) ([]Command, error) {
	var found []Command
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := filepath.Rel(root, path)
		for _, words := range commands(string(text)) {
			found = append(found, Command{page, words})
		}
		return err
	})
	if err == nil && len(found) < 50 {
		err = fmt.Errorf("%s shows %d commands only: they are not found any more", root, len(found))
	}
	return found, err
}

func commands(text string) [][]string {
	var lines []string
	for _, m := range shellBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(strings.ReplaceAll(m[1], "\\\n", " ")) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
			lines = append(lines, line)
		}
	}
	for _, m := range inlineCode.FindAllStringSubmatch(shellBlock.ReplaceAllString(text, ""), -1) {
		lines = append(lines, m[1])
	}
	var found [][]string
	for _, line := range lines {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "aksflow" {
			found = append(found, words[1:])
		}
	}
	return found
}

// Placeholder reports whether a word stands for another one.
func Placeholder(word string) bool {
	return !strings.HasPrefix(word, "-") && placeholder.MatchString(word)
}

// The directories of the tests that run the commands.
const (
	CLI = "internal/cli" // without a cluster, a registry and an engine
	E2E = "test/e2e"
)

// Room is the directory of the tests that run the command.
func (c Command) Room() string {
	offline := []string{"completion", "init", "kubeconfig", "man", "plan", "prune", "schema", "validate", "version"}
	if slices.Contains(offline, c.Words[0]) {
		return CLI
	}
	return E2E
}

// Runs are the command lines that tests have run with success.
type Runs struct {
	mu  sync.Mutex
	all [][]string
}

// Add remembers a command line, without aksflow itself.
func (r *Runs) Add(words []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, slices.Clone(words))
}

// Missing returns those of the commands that belong to a room and that no run had the verb and all flags of.
func (r *Runs) Missing(commands []Command, room string) []Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []Command
	for _, c := range commands {
		covers := func(run []string) bool {
			verb, flags := split(c.Words)
			ranVerb, ran := split(run)
			return verb == ranVerb && !slices.ContainsFunc(flags, func(f string) bool { return !slices.Contains(ran, f) })
		}
		if c.Room() == room && !slices.ContainsFunc(r.all, covers) {
			missing = append(missing, c)
		}
	}
	return missing
}

// split returns the verb of a command line, and the names of its flags. What follows run is another program's.
func split(words []string) (verb string, flags []string) {
	verb = words[0]
	if slices.Contains(words[1:], "azure") {
		verb += " azure"
	}
	if verb == "run" {
		return verb, nil
	}
	short := map[string]string{"-c": "--config", "-e": "--env", "-n": "--namespace", "-o": "--tarball", "-f": "--values", "-y": "--yes", "-v": "--verbose"}
	for _, word := range words[1:] {
		name, _, _ := strings.Cut(word, "=")
		if strings.HasPrefix(name, "-") {
			if long := short[name]; long != "" {
				name = long
			}
			flags = append(flags, name)
		}
	}
	return verb, flags
}
