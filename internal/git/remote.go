package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/skeema/knownhosts"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// Remote is a repository on a git server.
type Remote struct {
	// URL is https://…, http://…, ssh://… or user@host:path. A password in it is refused.
	URL string
	// Access is how to log in. Over HTTPS, Login is used, else App. Over SSH, SSHKey is used, else the user's agent.
	Access delivery.GitAccess
	// Network is the way to the server, and to the API of its host.
	Network dial.Network
}

// defaultUser goes with a token that has no user name. GitHub, Azure Repos and GitLab accept any name.
const defaultUser = "x-access-token"

// BranchName returns the name of a branch that may be given as refs/heads/NAME, as CI systems do.
func BranchName(branch string) string { return strings.TrimPrefix(branch, "refs/heads/") }

// Clone is a shallow, bare copy of a few branches in a temporary directory. It speaks git's pack protocol through
// go-git's transports. A push sends exactly the objects that were made here, so no history is walked.
type Clone struct {
	url       string // for errors; has no credentials
	endpoint  *transport.Endpoint
	transport transport.Transport
	auth      transport.AuthMethod
	http      *http.Client // of an HTTP transport
	azure     bool
	dir       string
	store     *filesystem.Storage
	tips      []plumbing.Hash // fetched before
}

// endpoint parses the URL.
func (r Remote) endpoint() (*transport.Endpoint, error) {
	endpoint, err := transport.NewEndpoint(r.URL)
	if err != nil {
		return nil, fault.Usagef("git remote %q is no URL: want https://HOST/PATH or ssh://HOST/PATH: %w", r.URL, err)
	}
	if endpoint.Password != "" {
		return nil, fault.Usagef("the URL of the git remote on %s holds a password: remove it, and pass the password in a variable that gitops.passwordEnv of aksflow.yaml names, or `aksflow bump --password-env`",
			endpoint.Host)
	}
	return endpoint, nil
}

// Open prepares a clone. It transfers nothing yet. The caller closes the clone.
func (r Remote) Open(ctx context.Context) (*Clone, error) {
	endpoint, err := r.endpoint()
	if err != nil {
		return nil, err
	}
	c := &Clone{url: r.URL, endpoint: endpoint}
	c.azure = isAzureRepos(endpoint.Host)
	switch endpoint.Protocol {
	case "http", "https":
		err = c.useHTTP(ctx, r)
	case "ssh":
		endpoint.Proxy.URL = sshProxy(r.Network)
		err = c.useSSH(r.Access)
	default:
		err = fault.Usagef("git remote %q: only https, http and ssh are supported", r.URL)
	}
	if err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "aksflow-git-"); err != nil {
		return nil, fmt.Errorf("cannot make a directory for the clone: %w", err)
	}
	const cacheSize = 16 * cache.MiByte
	c.store = filesystem.NewStorageWithOptions(osfs.New(c.dir), cache.NewObjectLRU(cacheSize),
		filesystem.Options{ExclusiveAccess: true, KeepDescriptors: true})
	return c, nil
}

// Close removes the copy.
func (c *Clone) Close() error {
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	return errors.Join(c.store.Close(), os.RemoveAll(c.dir))
}

func (c *Clone) useHTTP(ctx context.Context, r Remote) error {
	c.http = r.Network.Client()
	c.transport = githttp.NewClient(c.http)
	username, token, err := r.Token(ctx)
	if token != "" {
		c.auth = &githttp.BasicAuth{Username: cmp.Or(username, defaultUser), Password: token}
	}
	return err
}

// Token returns what to log in with over HTTPS and at the host's API. The token is empty when Access has neither a login
// nor a GitHub App.
func (r Remote) Token(ctx context.Context) (username, token string, err error) {
	switch {
	case r.Access.Login != nil:
		return r.Access.Login.Login(ctx)
	case r.Access.App != nil:
		token, err = r.appToken(ctx, *r.Access.App)
	}
	return "", token, err
}

// appToken returns a token of a GitHub App's installation. It is valid for an hour.
func (r Remote) appToken(ctx context.Context, app delivery.GitHubApp) (string, error) {
	api, err := r.GitHubAPI()
	if err != nil {
		return "", err
	}
	installation, err := ghinstallation.New(r.Network.Transport(http.DefaultTransport.(*http.Transport)), app.AppID, app.InstallationID, app.PrivateKey)
	if err != nil {
		return "", fault.Usagef("GitHub App %d: its private key cannot be read: want PEM: %w", app.AppID, err)
	}
	installation.BaseURL = strings.TrimSuffix(api, "/")
	token, err := installation.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("GitHub App %d gets no token for installation %d: check both numbers and the key: %w", app.AppID, app.InstallationID, err)
	}
	return token, nil
}

func (c *Clone) useSSH(access delivery.GitAccess) error {
	c.transport = gitssh.DefaultClient
	if len(access.SSHKey) == 0 {
		return nil // the agent, and the user's known hosts
	}
	keys, err := gitssh.NewPublicKeys(cmp.Or(c.endpoint.User, "git"), access.SSHKey, string(access.SSHPassphrase))
	if err != nil {
		return fault.Usagef("the SSH key for %s cannot be read: want a private key in OpenSSH or PEM form, and its passphrase: %w", c.endpoint.Host, err)
	}
	c.auth = keys
	if len(access.KnownHosts) == 0 {
		return nil
	}
	file, err := os.CreateTemp("", "aksflow-known-hosts-")
	if err != nil {
		return fmt.Errorf("cannot write the known hosts: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(access.KnownHosts)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("cannot write the known hosts: %w", err)
	}
	db, err := knownhosts.NewDB(file.Name())
	if err != nil {
		return fault.Usagef("the known hosts cannot be read: want the form of ssh_known_hosts: %w", err)
	}
	port := cmp.Or(c.endpoint.Port, gitssh.DefaultPort)
	keys.HostKeyCallback = db.HostKeyCallback()
	keys.HostKeyAlgorithms = db.HostKeyAlgorithms(net.JoinHostPort(c.endpoint.Host, fmt.Sprint(port)))
	return nil
}
