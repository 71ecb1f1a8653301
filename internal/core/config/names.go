package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

var (
	argName      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	hostName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	platformName = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$`)
	brackets     = regexp.MustCompile(`\[[^\]]*\]`)
)

// architectures are the names that Go and OCI have for architectures which are called otherwise elsewhere.
var architectures = strings.NewReplacer("x86_64", "amd64", "x64", "amd64", "aarch64", "arm64")

// neverMatches says why a pattern fits the name of no git ref; "" if it may fit one. Such patterns are written as in the files of CI
// systems, where they mean something. git does not allow the characters ~ ^ : and backslashes in names.
func neverMatches(pattern string) (why string) {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, full := strings.CutPrefix(pattern, prefix); full {
			return fmt.Sprintf("patterns are for names without %s: want %s", prefix, name)
		}
	}
	switch {
	case pattern == "":
		return "it is empty"
	case strings.Contains(pattern, "${"):
		return "variables are not expanded in patterns"
	case strings.HasPrefix(pattern, "!"):
		return "no pattern excludes names: the first environment of the file with a pattern that fits is taken"
	case strings.Contains(pattern, "]+"):
		return "+ is a character like others here: want " + strings.ReplaceAll(pattern, "]+", "]*")
	case strings.HasPrefix(pattern, "/") || strings.ContainsAny(brackets.ReplaceAllString(pattern, ""), `^~:\`):
		return "it looks like a regular expression, and a pattern is as in a shell: * stands for anything without a slash, ** for anything"
	}
	return ""
}

// hostName wants a name by which tests can reach a container.
func (c *checker) hostName(name string, at ...any) {
	if name != "" && !hostName.MatchString(name) {
		c.errorf(at, "%q: want a host name: letters, digits, dashes and dots", name)
	}
}

// platform wants one platform.
func (c *checker) platform(value string, at ...any) {
	if value == "" {
		return
	}
	switch fixed := architectures.Replace(value); {
	case strings.Contains(value, ","):
		c.errorf(at, "%q: an image is built for one platform: want one such as linux/arm64", value)
	case !strings.Contains(value, "/"):
		c.errorf(at, "%q: want the system, too: linux/%s", value, fixed)
	case fixed != value:
		c.errorf(at, "%q: want %s", value, fixed)
	case !platformName.MatchString(value):
		c.errorf(at, "%q: want a platform such as linux/arm64", value)
	}
}

// port wants the number of a TCP port.
func (c *checker) port(number int, at ...any) {
	if number < 1 || number > 65535 {
		c.errorf(at, "%d is no port: want a number from 1 to 65535", number)
	}
}

// env wants names that variables of an environment can have.
func (c *checker) env(env map[string]string, at ...any) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name == "" || strings.ContainsAny(name, "= \t\n\x00") {
			c.errorf(slices.Concat(at, []any{"env", name}), "%q is no name of a variable", name)
		}
	}
}

// checkRegistry is [ref.CheckRegistry], and names what is wrong where only capital letters are.
func checkRegistry(registry string) error {
	err := ref.CheckRegistry(registry)
	host, path, _ := strings.Cut(registry, "/")
	if lower := host + "/" + strings.ToLower(path); err != nil && path != "" && ref.CheckRegistry(lower) == nil {
		return fmt.Errorf("%q: the path of a repository has no capital letters: want %s", registry, lower)
	}
	return err
}
