package manifest

import (
	"fmt"
	"regexp"
	"strings"
)

// reference is an image reference taken apart. What stands in manifests is taken apart as leniently as the operators
// do, placeholders included; only a Target is validated.
type reference struct {
	repository string // with the registry's host when it stood there
	tag        string
	digest     string // with its algorithm: sha256:…
}

// Grammar of the distribution project (reference/regexp.go), which registries and runtimes agree on.
const (
	hostGrammar      = `(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?`
	componentGrammar = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
)

var (
	repositoryPattern = regexp.MustCompile(`^(?:` + hostGrammar + `/)?` + componentGrammar + `(?:/` + componentGrammar + `)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

// split takes a reference apart. The port of a registry's host is no tag: a tag stands after the last slash.
func split(s string) reference {
	var r reference
	s, r.digest, _ = strings.Cut(s, "@")
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, '/') {
		s, r.tag = s[:colon], s[colon+1:]
	}
	r.repository = s
	return r
}

// String puts the reference together.
func (r reference) String() string {
	s := r.repository
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest
	}
	return s
}

// host splits the registry's host off the repository by the rule that every container runtime uses: the first element
// is a host if it has a dot or a colon, or is localhost.
func (r reference) host() (host, path string) {
	first, rest, found := strings.Cut(r.repository, "/")
	if found && (first == "localhost" || strings.ContainsAny(first, ".:")) {
		return first, rest
	}
	return "", r.repository
}

// canonical is the repository with the names that mean the same brought together: no host and docker.io, redis and
// library/redis.
func (r reference) canonical() (host, path string) {
	host, path = r.host()
	switch host {
	case "", "index.docker.io", "registry-1.docker.io":
		host = "docker.io"
	}
	if host == "docker.io" {
		path = strings.TrimPrefix(path, "library/")
	}
	return host, path
}

// parseTarget validates the reference that is to be set.
func parseTarget(s string) (reference, error) {
	r := split(s)
	switch {
	case !repositoryPattern.MatchString(r.repository):
		return r, fmt.Errorf("image reference %q: repository %q is not valid: want [HOST[:PORT]/]lower-case/path", s, r.repository)
	case strings.Contains(s, "@") && !digestPattern.MatchString(r.digest):
		return r, fmt.Errorf("image reference %q: digest %q is not valid: want sha256: and 64 hexadecimal digits", s, r.digest)
	case r.tag != "" && !tagPattern.MatchString(r.tag):
		return r, fmt.Errorf("image reference %q: tag %q is not valid: want up to 128 letters, digits, '_', '.' and '-'", s, r.tag)
	case r.tag == "" && r.digest == "":
		return r, fmt.Errorf("image reference %q has neither tag nor digest: give REPOSITORY@sha256:… as publish prints it", s)
	case r.String() != s:
		return r, fmt.Errorf("image reference %q is not valid: want REPOSITORY[:TAG][@DIGEST]", s)
	}
	return r, nil
}

// wanted is a Target made ready for matching.
type wanted struct {
	image    reference
	names    []reference     // repositories that stand for the image; those without host match on any registry
	policies map[string]bool // Flux image policies, NAMESPACE:NAME
}

func (t Target) wanted() (wanted, error) {
	image, err := parseTarget(t.Image)
	if err != nil {
		return wanted{}, err
	}
	_, own := image.canonical()
	w := wanted{image: image, names: []reference{{repository: own}}, policies: map[string]bool{}}
	for _, name := range t.Replace {
		r := split(name)
		if r.repository == "" {
			return wanted{}, fmt.Errorf("replace %q: want the name of a repository", name)
		}
		if host, _ := r.host(); host == "" && r.tag != "" && r.digest == "" {
			w.policies[name] = true // flux-system:vote, by its form also the repository flux-system with the tag vote
		}
		w.names = append(w.names, reference{repository: r.repository})
	}
	return w, nil
}

// matches tells whether a repository as it stands in a manifest is one of those meant.
func (w wanted) matches(repository string) bool {
	if repository == "" {
		return false
	}
	r := reference{repository: repository}
	host, path := r.canonical()
	for _, name := range w.names {
		if nameHost, _ := name.host(); nameHost != "" {
			if h, p := name.canonical(); h == host && p == path {
				return true
			}
			continue
		}
		if path == strings.TrimPrefix(name.repository, "library/") {
			return true
		}
	}
	return false
}

// traces are byte strings of which a file that the target touches holds at least one.
func (w wanted) traces() [][]byte {
	var out [][]byte
	for _, name := range w.names {
		_, path := name.canonical()
		out = append(out, []byte(path[strings.LastIndexByte(path, '/')+1:]))
	}
	for policy := range w.policies {
		out = append(out, []byte(policy))
	}
	return out
}
