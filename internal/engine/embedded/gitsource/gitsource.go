// Package gitsource describes git repositories as BuildKit fetches them.
package gitsource

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/util/gitutil"
)

// Repository is a remote repository. It holds no credentials, only the IDs by which BuildKit asks for them.
type Repository struct {
	URL        string // without user and password, but for an SSH user
	SSH        bool
	KeepGitDir bool
	AuthHeader string // ID of the secret with the Authorization header; "" for none
	Socket     string // ID of the SSH agent's socket; "" for none
	KnownHosts string // in the format of known_hosts, sshd(8); "" for the host's keys as they are now
}

// Parse reads the URL of a repository. It returns the Authorization header that user and password in the URL stand for; ""
// if there are none. A URL without a protocol is that of an HTTPS server, as with Dagger.
func Parse(remote string) (r Repository, header string, err error) {
	parsed, err := gitutil.ParseURL(remote)
	if err != nil {
		if parsed, err = gitutil.ParseURL("https://" + remote); err != nil {
			return Repository{}, "", fmt.Errorf("git: the URL is none of a git repository: %w", err)
		}
	}
	if parsed.Scheme == gitutil.SSHProtocol {
		return Repository{URL: parsed.Remote, SSH: true}, "", nil
	}
	u, err := url.Parse(parsed.Remote)
	if err != nil {
		return Repository{}, "", fmt.Errorf("git: the URL is none of a git repository")
	}
	if password, ok := u.User.Password(); ok {
		header = BasicAuth(u.User.Username(), password)
	}
	u.User = nil
	return Repository{URL: u.String()}, header, nil
}

// DefaultUser is the user that a token belongs to where none is given: GitHub's name for it, which others take too.
const DefaultUser = "x-access-token"

// BasicAuth is the Authorization header of a user and a password or token.
func BasicAuth(user, password string) string {
	return "basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Commit matches a full commit ID.
var Commit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// RefName is the ref that a field of Dagger's GitRepository names, with its argument name or id.
func RefName(field, name, id string) (string, error) {
	switch field {
	case "branch":
		return "refs/heads/" + strings.TrimPrefix(name, "refs/heads/"), nil
	case "tag":
		return "refs/tags/" + strings.TrimPrefix(name, "refs/tags/"), nil
	case "commit":
		if !Commit.MatchString(id) {
			return "", fmt.Errorf("invalid commit SHA: %q", id)
		}
		return id, nil
	}
	return cmp.Or(name, "HEAD"), nil
}

// State is the tree at a ref. It must still be at the object with the ID want, if that is not empty.
func (r Repository) State(ref, want string) llb.State {
	opts := []llb.GitOption{llb.WithCustomName(strings.TrimSpace("git " + r.URL + " " + ref))}
	if want != "" && !Commit.MatchString(ref) {
		opts = append(opts, llb.GitChecksum(want))
	}
	if r.KeepGitDir {
		opts = append(opts, llb.KeepGitDir())
	}
	if r.AuthHeader != "" {
		opts = append(opts, llb.AuthHeaderSecret(r.AuthHeader))
	}
	if r.Socket != "" {
		opts = append(opts, llb.MountSSHSock(r.Socket))
	}
	if r.KnownHosts != "" {
		opts = append(opts, llb.KnownSSHHosts(r.KnownHosts))
	}
	if ref == "HEAD" {
		ref = ""
	}
	return llb.Git(r.URL, "", append(opts, llb.GitRef(ref))...)
}
