// Package ref parses and compares image references.
//
// [Parse] is for a reference that is to be pushed, deployed or written somewhere: it accepts what container runtimes
// accept. [Read] is for a reference that stands in somebody's file: it never fails, and keeps placeholders such as
// vote:${TAG}. The package has no network and no dependencies.
package ref

import (
	"fmt"
	"regexp"
	"strings"
)

// Ref is an image reference, [HOST[:PORT]/]PATH[:TAG][@DIGEST], taken apart once. Refs that were written alike are
// equal by ==. The zero Ref stands for no image.
type Ref struct {
	// Repository is the part before tag and digest, as it was written: with the registry's host only if that was there.
	Repository string
	Tag        string // may be empty
	Digest     string // with its algorithm, "sha256:…"; may be empty
}

// Read takes s apart without judging it. Separators inside of ${…} and {{…}} belong to the placeholder. String of the
// result is s again.
func Read(s string) Ref {
	r := Ref{Repository: s}
	if at := separator(s, '@', strings.IndexByte); at >= 0 && at < len(s)-1 {
		r.Repository, r.Digest = s[:at], s[at+1:]
	}
	// The port of a registry's host is no tag: a tag stands after the last slash.
	repository := r.Repository
	colon := separator(repository, ':', strings.LastIndexByte)
	if colon > separator(repository, '/', strings.LastIndexByte) && colon < len(repository)-1 {
		r.Repository, r.Tag = repository[:colon], repository[colon+1:]
	}
	return r
}

// separator returns the index of c in s by find, which is strings.IndexByte or strings.LastIndexByte. Placeholders
// are left out, unless their braces do not match.
func separator(s string, c byte, find func(string, byte) int) int {
	if !strings.ContainsRune(s, '{') {
		return find(s, c)
	}
	masked, depth := []byte(s), 0
	for i := range masked {
		switch {
		case masked[i] == '{':
			depth++
		case masked[i] == '}':
			depth--
		case depth > 0:
			masked[i] = ' '
		}
		if depth < 0 {
			return find(s, c)
		}
	}
	if depth != 0 {
		return find(s, c)
	}
	return find(string(masked), c)
}

// String returns the reference as it was written.
func (r Ref) String() string {
	s := r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// dockerHub is the host that a reference without a host means.
const dockerHub = "docker.io"

// Host returns the registry's host as it was written, with its port; "" when there is none.
func (r Ref) Host() string {
	host, _ := r.splitHost()
	return host
}

// Path returns the repository without the registry's host, as it was written.
func (r Ref) Path() string {
	_, path := r.splitHost()
	return path
}

// splitHost splits the repository by the rule of the container runtimes: the first element is a host if it has a dot,
// a colon or an upper-case letter, or is localhost.
// https://github.com/distribution/reference/blob/v0.6.0/normalize.go
func (r Ref) splitHost() (host, path string) {
	first, rest, found := strings.Cut(r.Repository, "/")
	if found && (first == "localhost" || strings.ContainsAny(first, ".:") || upperCaseHost.MatchString(first)) {
		return first, rest
	}
	return "", r.Repository
}

// Canonical returns host and path with the names that mean the same brought together: redis, library/redis and
// index.docker.io/library/redis are all docker.io and redis.
func (r Ref) Canonical() (host, path string) {
	host, path = r.splitHost()
	host = strings.ToLower(host)
	switch host {
	case "", "index.docker.io", "registry-1.docker.io":
		host = dockerHub
	}
	if host == dockerHub {
		if name, official := strings.CutPrefix(path, "library/"); official && !strings.Contains(name, "/") {
			path = name
		}
	}
	return host, path
}

// SameRepository reports whether both name one repository: the same path on the same registry.
func (r Ref) SameRepository(other Ref) bool {
	host, path := r.Canonical()
	otherHost, otherPath := other.Canonical()
	return host == otherHost && path == otherPath
}

// Name returns the last element of the repository: "vote".
func (r Ref) Name() string { return r.Repository[strings.LastIndexByte(r.Repository, '/')+1:] }

// Short returns the reference for tables: name, tag, and the first 12 digits of the digest.
func (r Ref) Short() string {
	short := Ref{Repository: r.Name(), Tag: r.Tag, Digest: r.Digest}
	if algorithm, hex, found := strings.Cut(r.Digest, ":"); found {
		short.Digest = algorithm + ":" + hex[:min(len(hex), 12)]
	}
	return short.String()
}

// Grammar of https://github.com/distribution/reference/blob/v0.6.0/regexp.go, which registries and runtimes agree on.
const (
	label            = `[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?`
	hostGrammar      = `(?:` + label + `(?:\.` + label + `)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?`
	componentGrammar = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`

	pathLimit = 255 // bytes
)

var (
	hostPattern   = regexp.MustCompile(`^` + hostGrammar + `$`)
	upperCaseHost = regexp.MustCompile(`^[A-Za-z0-9-]*[A-Z][A-Za-z0-9-]*$`)
	pathPattern   = regexp.MustCompile(`^` + componentGrammar + `(?:/` + componentGrammar + `)*$`)
	hexPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

// Parse takes s apart and reports what is wrong with it. A reference without tag and digest is accepted: it names a
// repository.
func Parse(s string) (Ref, error) {
	if scheme, rest, found := strings.Cut(s, "://"); found {
		host, _, _ := strings.Cut(rest, "/")
		return Ref{}, fmt.Errorf("image reference %q: a reference has no scheme: remove %s://, so that it begins with %s", s, scheme, host)
	}
	r := Read(s)
	host, path := r.splitHost()
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("the image reference is empty: want [HOST[:PORT]/]PATH[:TAG][@DIGEST]")
	case strings.Contains(s, "@") && !digestPattern.MatchString(r.Digest):
		return Ref{}, fmt.Errorf("image reference %q: digest %q is not valid: want sha256: and 64 hexadecimal digits", s, r.Digest)
	case r.Tag != "" && !tagPattern.MatchString(r.Tag):
		return Ref{}, fmt.Errorf("image reference %q: tag %q is not valid: want up to 128 letters, digits, '_', '.' and '-'", s, r.Tag)
	case host != "" && !hostPattern.MatchString(host), !pathPattern.MatchString(path), hexPattern.MatchString(r.Repository):
		return Ref{}, fmt.Errorf("image reference %q: repository %q is not valid: want [HOST[:PORT]/]lower-case/path", s, r.Repository)
	case len(path) > pathLimit:
		return Ref{}, fmt.Errorf("image reference %q: the path has %d characters: registries accept up to %d", s, len(path), pathLimit)
	}
	return r, nil
}

// CheckRegistry reports what is wrong with the part of a reference before the image's own path: HOST[:PORT][/PATH].
func CheckRegistry(s string) error {
	plain := s
	if _, rest, found := strings.Cut(s, "://"); found {
		plain = rest
	}
	plain = strings.TrimRight(plain, "/")
	r, err := Parse(plain + "/image")
	switch {
	case err != nil || r.Tag != "" || r.Digest != "":
		return fmt.Errorf("%q: want a host such as myregistry.azurecr.io", s)
	case plain != s:
		return fmt.Errorf("%q: want a host such as %s", s, plain)
	}
	return nil
}
