package git

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// address is the URL of a repository, taken apart into what git hosts compare.
type address struct {
	ssh  bool
	host string // in lower case; one name for hosts that have several
	port string // "" for the protocol's own
	path string // decoded; no slash at either end, no .git
}

// SameRepository reports whether two URLs name one repository. The protocol, the user, and how a host writes its
// addresses make no difference: https://host/a/b.git, git@host:a/b and ssh://git@host:2222/a/b are one repository. So are
// the three forms that Azure Repos has.
func SameRepository(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	x, y := parseAddress(a), parseAddress(b)
	if x.host != y.host {
		return false
	}
	if x.ssh == y.ssh && x.port != y.port {
		return false // two servers on one host; the ports of different protocols say nothing
	}
	if x.path == y.path {
		return true
	}
	// Bitbucket Data Center has https://HOST/scm/PROJECT/NAME and ssh://HOST:7999/PROJECT/NAME.
	web, other := x, y
	if x.ssh {
		web, other = y, x
	}
	return other.ssh && !web.ssh && web.path == "scm/"+other.path
}

var (
	scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	// scpForm is [USER@]HOST:PATH, which has no slash before the colon.
	scpForm = regexp.MustCompile(`^(?:[^@/]+@)?(\[[0-9A-Fa-f:]+\]|[^:/@\[]+):(.*)$`)
)

// parseAddress takes a URL apart. It never fails: what is no URL is a path.
func parseAddress(s string) address {
	s = strings.TrimSpace(s)
	var a address
	if match := scpForm.FindStringSubmatch(s); match != nil && !scheme.MatchString(s) {
		a = address{ssh: true, host: strings.Trim(match[1], "[]"), path: match[2]}
	} else if u, err := url.Parse(strings.ReplaceAll(s, " ", "%20")); err == nil {
		a = address{ssh: strings.Contains(u.Scheme, "ssh"), host: u.Hostname(), port: u.Port(), path: u.EscapedPath()}
		if a.port == defaultPorts[u.Scheme] || a.ssh && a.port == "22" {
			a.port = ""
		}
	} else {
		a = address{path: s}
	}
	if decoded, err := url.PathUnescape(a.path); err == nil {
		a.path = decoded
	}
	a.host = strings.TrimSuffix(strings.ToLower(a.host), ".")
	if !a.normalizeAzure() {
		a.path = strings.TrimSuffix(joined(elements(a.path)), ".git")
	}
	if alias, found := hostAliases[a.host]; found {
		a.host, a.port = alias, ""
	}
	if foldsCase(a.host) || strings.Contains("/"+a.path+"/", "/_git/") {
		a.path = strings.ToLower(a.path)
	}
	return a
}

var defaultPorts = map[string]string{"https": "443", "http": "80", "git": "9418"}

// hostAliases are further names of hosts, most of them for SSH through port 443.
var hostAliases = map[string]string{
	"ssh.github.com":       "github.com",
	"www.github.com":       "github.com",
	"altssh.gitlab.com":    "gitlab.com",
	"altssh.bitbucket.org": "bitbucket.org",
}

// foldsCase reports whether a host is known to ignore case in the names of repositories.
func foldsCase(host string) bool {
	return slices.Contains([]string{"github.com", "gitlab.com", "bitbucket.org", "codeberg.org", azureHost}, host) || strings.HasSuffix(host, ".ghe.com")
}

const azureHost = "dev.azure.com"

func isAzureRepos(host string) bool {
	host = strings.ToLower(host)
	return host == azureHost || host == "ssh."+azureHost || strings.HasSuffix(host, ".visualstudio.com")
}

// normalizeAzure brings the addresses of Azure Repos to host dev.azure.com and path ORGANIZATION/PROJECT/NAME. They are
//
//	https://dev.azure.com/ORGANIZATION/PROJECT/_git/NAME     # or /ORGANIZATION/_git/NAME, for the project of that name
//	https://ORGANIZATION.visualstudio.com/[DefaultCollection/]PROJECT/_git/NAME
//	git@ssh.dev.azure.com:v3/ORGANIZATION/PROJECT/NAME
//	ORGANIZATION@vs-ssh.visualstudio.com:v3/ORGANIZATION/PROJECT/NAME
//
// It reports whether the address is one of them. A repository's name may end in .git there, and counts.
func (a *address) normalizeAzure() bool {
	if !isAzureRepos(a.host) {
		return false
	}
	parts := elements(a.path)
	organization, hosted := strings.CutSuffix(a.host, ".visualstudio.com")
	if hosted && organization != "vs-ssh" {
		parts = append([]string{organization}, parts...)
	}
	if len(parts) > 0 && strings.EqualFold(parts[0], "v3") {
		parts = parts[1:]
	}
	if len(parts) > 2 && strings.EqualFold(parts[1], "DefaultCollection") {
		parts = slices.Delete(parts, 1, 2)
	}
	if git := slices.Index(parts, "_git"); git == 1 && len(parts) == 3 {
		parts = []string{parts[0], parts[2], parts[2]}
	} else if git >= 0 {
		parts = slices.Delete(parts, git, git+1)
	}
	a.host, a.port, a.path = azureHost, "", joined(parts)
	return true
}

func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func joined(elements []string) string { return strings.Join(elements, "/") }

// Repository returns the path of the repository on its host, without .git: OWNER/NAME on GitHub.
func (r Remote) Repository() (path string, err error) {
	endpoint, err := r.endpoint()
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(joined(elements(endpoint.Path)), ".git"), nil
}

// GitHubAPI returns the address of the REST API that GitHub, or a GitHub Enterprise Server, has for the remote. It ends
// in a slash.
func (r Remote) GitHubAPI() (string, error) {
	if _, err := r.endpoint(); err != nil {
		return "", err
	}
	a := parseAddress(r.URL)
	switch {
	case a.host == "github.com":
		return "https://api.github.com/", nil
	case strings.HasSuffix(a.host, ".ghe.com"):
		return "https://api." + a.host + "/", nil
	case a.host == "":
		return "", fault.Usagef("git remote %q names no host", r.URL)
	}
	protocol, host := "https", a.host
	if strings.HasPrefix(strings.ToLower(r.URL), "http://") {
		protocol = "http"
	}
	if a.port != "" && !a.ssh {
		host = net.JoinHostPort(host, a.port)
	}
	return protocol + "://" + host + "/api/v3/", nil
}

// SameHost reports whether two URLs name one git host.
func SameHost(a, b string) bool { return parseAddress(a).host == parseAddress(b).host }
