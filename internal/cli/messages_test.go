package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/config"
)

var (
	pushVerbs  = []string{"deploy", "deliver", "rollback", "resume", "abort"}
	imageVerbs = []string{"build", "test", "deliver"}
	pullVerbs  = []string{"bump", "deliver", "rollback"}
	refVerbs   = []string{"deliver", "plan"}
	envVerbs   = []string{"build", "test", "publish", "bump", "wait", "deploy", "diff", "resume", "abort", "rollback", "history", "deliver", "plan"}
)

// printers lists the verbs that print the messages of a file or of a package; the longest path counts. A message may
// only advise what each of them has.
var printers = map[string][]string{
	"internal/cli":                         nil, // its files are named after their verbs
	"internal/cli/request.go":              {},
	"internal/adopt":                       {"init"},
	"internal/adopt/runner.go":             {}, // commands of test runners
	"internal/adopt/stage.go":              {}, // commands of test runners
	"internal/azure/setup":                 {"init"},
	"internal/azure/setup/files.go":        {}, // prints commands of az
	"internal/core/build":                  imageVerbs,
	"internal/core/config":                 envVerbs,
	"internal/core/gitflow":                refVerbs,
	"internal/core/image":                  {"publish", "deliver"},
	"internal/core/image/archive.go":       {"build", "publish", "deliver"},
	"internal/core/manifest":               {"bump", "deliver"},
	"internal/doctor":                      {"doctor"},
	"internal/flow":                        envVerbs,
	"internal/flow/access/access.go":       {"bump", "publish", "deliver"},
	"internal/flow/evidence/candidate.go":  {"deliver", "promote"},
	"internal/flow/signing/signing.go":     {"approve"},
	"internal/flow/approve.go":             {"approve"},
	"internal/flow/dev.go":                 {"dev"},
	"internal/flow/made.go":                {"publish", "deliver"},
	"internal/flow/override.go":            {"deliver", "promote"},
	"internal/flow/promote.go":             {"deliver", "promote"},
	"internal/flow/steps.go":               {"build", "test", "publish", "deliver"},
	"internal/flow/attest.go":              {"deploy", "bump", "wait"},
	"internal/flow/verify.go":              {"verify"},
	"internal/git":                         pullVerbs,
	"internal/kube":                        pushVerbs,
	"internal/kube/status":                 {"deploy", "deliver", "rollback", "resume", "abort", "wait"},
	"internal/kube/watch":                  {"deploy", "deliver", "rollback", "resume", "abort", "wait"},
	"internal/kustomize":                   {"bump", "deliver", "deploy", "diff"},
	"internal/localplatform":               {}, // passes flags to other programs
	"internal/proof":                       {"publish", "deliver", "verify"},
	"internal/render":                      {"deploy", "diff", "deliver", "dev", "validate"},
	"internal/render/values.go":            {"deploy", "diff", "deliver", "dev"},
	"internal/target/cluster":              pushVerbs,
	"internal/target/cluster/rollback.go":  {"rollback"},
	"internal/target/cluster/uninstall.go": {"uninstall"},
	"internal/target/gitops":               pullVerbs,
	"internal/target/gitops/bump.go":       {"bump", "deliver"},
	"internal/target/gitops/rollback.go":   {"rollback"},
	"internal/target/gitops/wait":          {"wait", "deliver"},
}

// shared names the verbs that print a message of a file which several verbs share, by a part of the message.
var shared = map[string][]string{
	"has no --checksum": {}, // a flag of the Dockerfile's ADD
	"--build-arg":       {"build", "test", "deliver"},
	"--image: ":         {"bump", "wait", "deploy", "diff"},
	"--target %q":       {"deliver", "plan"},
	"--to %q":           {"rollback"},
	"with --manifests,": {"deploy", "diff", "deliver"},
	"which image?":      {"bump"},
}

// message is a string of the source that somebody may read.
type message struct{ file, text string }

func messages(t *testing.T) []message {
	t.Helper()
	var found []message
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, " ") {
					found = append(found, message{filepath.ToSlash(name), text})
				}
			}
			return true
		})
		return err
	})
	require.NoError(t, err)
	return found
}

// verbsOf returns the verbs that print a message, and whether the package's messages are looked at.
func verbsOf(m message) (verbs []string, known bool) {
	best := ""
	for path := range printers {
		if (m.file == path || strings.HasPrefix(m.file, path+"/")) && len(path) > len(best) {
			best = path
		}
	}
	for part, verbs := range shared {
		if strings.Contains(m.text, part) {
			return verbs, true
		}
	}
	if best == "internal/cli" {
		return []string{strings.TrimSuffix(filepath.Base(m.file), ".go")}, true
	}
	return printers[best], best != ""
}

var (
	code     = regexp.MustCompile("`[^`]*`")
	flag     = regexp.MustCompile(`(?:^|[\s(\x60"])--([a-z][a-z-]*[a-z])`)
	verb     = regexp.MustCompile(`\baksflow ([a-z]{2,})`)
	key      = regexp.MustCompile(`\b(?:build|test|gitops|rollout|cluster)\.[a-z][A-Za-z.]*[A-Za-z]`)
	noVerb   = []string{"has", "is", "was", "on", "where", "applies", "delivers", "to", "and", "does", "cannot", "deploys", "needs", "owns", "set", "in", "can", "local", "opens"}
	noKey    = regexp.MustCompile(`\.(com|dev|example|local|io|sigs|x-k8s|yaml|go)$`)
	fileEnds = []string{"go", "yaml", "json"}
)

// Advice works: each flag, verb and key that a message names is there, in each verb that prints the message.
func TestAdviceCanBeFollowed(t *testing.T) {
	root := newRoot(&globals{})
	keys := configKeys(reflect.TypeFor[config.Config](), "")
	checked := 0
	for _, m := range messages(t) {
		verbs, known := verbsOf(m)
		if !known {
			continue
		}
		text := code.ReplaceAllStringFunc(m.text, func(span string) string {
			command, ours := strings.CutPrefix(strings.Trim(span, "`"), "aksflow ")
			if ours {
				checked++
				checkCommand(t, root, m, command)
			}
			return "" // another program's flags are not ours
		})
		for _, match := range flag.FindAllStringSubmatch(text, -1) {
			checked++
			for _, name := range verbs {
				if c := find(root, name); c != nil {
					assert.True(t, hasFlag(c, match[1]), "%s: %q: `aksflow %s` has no --%s", m.file, m.text, name, match[1])
				}
			}
		}
		for _, match := range verb.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(noVerb, match[1]) {
				checked++
				assert.NotNil(t, find(root, match[1]), "%s: %q: there is no `aksflow %s`", m.file, m.text, match[1])
			}
		}
		for _, name := range key.FindAllString(text, -1) {
			if !noKey.MatchString(name) && !slices.Contains(fileEnds, name[strings.LastIndexByte(name, '.')+1:]) {
				checked++
				assert.Contains(t, keys, name, "%s: %q", m.file, m.text)
			}
		}
	}
	assert.Greater(t, checked, 40, "the walk finds the advice")
}

// checkCommand checks a command that a message quotes: the verb and its flags.
func checkCommand(t *testing.T, root *cobra.Command, m message, command string) {
	t.Helper()
	words := strings.Fields(command)
	if len(words) == 0 || strings.HasPrefix(words[0], "%") {
		return
	}
	c := find(root, words[0])
	if !assert.NotNil(t, c, "%s: %q: there is no `aksflow %s`", m.file, m.text, words[0]) {
		return
	}
	for _, match := range flag.FindAllStringSubmatch(command, -1) {
		assert.True(t, hasFlag(c, match[1]), "%s: %q: `aksflow %s` has no --%s", m.file, m.text, words[0], match[1])
	}
}

func find(root *cobra.Command, name string) *cobra.Command {
	for _, c := range root.Commands() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

func hasFlag(c *cobra.Command, name string) bool {
	lookup := func(f *pflag.FlagSet) bool { return f.Lookup(name) != nil }
	if slices.ContainsFunc(c.Commands(), func(below *cobra.Command) bool { return hasFlag(below, name) }) {
		return true
	}
	return name == "help" || lookup(c.Flags()) || lookup(c.InheritedFlags()) || lookup(c.Root().PersistentFlags())
}

// configKeys are the keys of aksflow.yaml with dots between them; those of an environment as they are named in messages,
// from the environment on.
func configKeys(t reflect.Type, prefix string) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return configKeys(t.Elem(), prefix)
	case reflect.Map:
		return configKeys(t.Elem(), "")
	case reflect.Struct:
		var keys []string
		for i := range t.NumField() {
			if name := t.Field(i).Tag.Get("yaml"); name != "" && name != "-" {
				keys = append(keys, prefix+name)
				keys = append(keys, configKeys(t.Field(i).Type, prefix+name+".")...)
			}
		}
		return keys
	}
	return nil
}
