package gitops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/skeema/knownhosts"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// clone is a shallow, bare copy of a few branches in a temporary directory. It speaks git's pack protocol through
// go-git's transports; what is pushed is exactly what was made here, so that no history is walked.
type clone struct {
	url       string // for errors; without credentials
	endpoint  *transport.Endpoint
	transport transport.Transport
	auth      transport.AuthMethod
	token     string     // for the host's API
	app       *GitHubApp // for the host's API, instead
	azure     bool
	dir       string
	store     *filesystem.Storage
	tips      []plumbing.Hash // fetched before
}

// open prepares a clone; nothing is transferred yet. The caller closes it.
func (r Remote) open(ctx context.Context) (*clone, error) {
	endpoint, err := transport.NewEndpoint(r.URL)
	if err != nil {
		return nil, fault.Usagef("git remote %q is no URL: want https://HOST/PATH or ssh://HOST/PATH: %w", r.URL, err)
	}
	if endpoint.Password != "" {
		return nil, fault.Usagef("the URL of the git remote on %s holds a password: pass it through the environment instead", endpoint.Host)
	}
	if !r.Auth.given() {
		if r.Auth, err = AuthFromEnvironment(); err != nil {
			return nil, err
		}
	}
	c := &clone{url: r.URL, endpoint: endpoint, app: r.Auth.App, token: r.Auth.Token}
	c.azure = endpoint.Host == "dev.azure.com" || endpoint.Host == "ssh.dev.azure.com" || strings.HasSuffix(endpoint.Host, ".visualstudio.com")
	switch endpoint.Protocol {
	case "http", "https":
		err = c.useHTTP(ctx, r)
	case "ssh":
		err = c.useSSH(r)
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
func (c *clone) Close() error {
	return errors.Join(c.store.Close(), os.RemoveAll(c.dir))
}

// httpClient returns a client that dials and trusts as the remote says.
func httpClient(dial func(context.Context, string, string) (net.Conn, error), caBundle []byte) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if dial != nil {
		t.DialContext = dial
		t.Proxy = nil
	}
	if len(caBundle) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(caBundle) {
			return nil, fault.Usagef("the CA bundle holds no PEM certificate")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t}, nil
}

func (c *clone) useHTTP(ctx context.Context, r Remote) error {
	client, err := httpClient(r.Dial, r.CABundle)
	if err != nil {
		return err
	}
	c.transport = githttp.NewClient(client)
	token := r.Auth.Token
	if r.Auth.App != nil {
		if token, err = r.Auth.App.token(ctx, client.Transport, githubAPI(c.endpoint.Host)); err != nil {
			return err
		}
	}
	if token != "" {
		user := r.Auth.Username
		if user == "" {
			user = "x-access-token"
		}
		c.auth = &githttp.BasicAuth{Username: user, Password: token}
	}
	return nil
}

// token gets an installation's token; it is good for an hour.
func (a *GitHubApp) token(ctx context.Context, t http.RoundTripper, baseURL string) (string, error) {
	installation, err := ghinstallation.New(t, a.AppID, a.InstallationID, a.PrivateKey)
	if err != nil {
		return "", fault.Usagef("GitHub App %d: its private key cannot be read: want PEM: %w", a.AppID, err)
	}
	if a.BaseURL != "" {
		baseURL = a.BaseURL
	}
	installation.BaseURL = strings.TrimSuffix(baseURL, "/")
	token, err := installation.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("GitHub App %d gets no token for installation %d: check both numbers and the key: %w", a.AppID, a.InstallationID, err)
	}
	return token, nil
}

func (c *clone) useSSH(r Remote) error {
	user := c.endpoint.User
	if user == "" {
		user = "git"
	}
	c.transport = gitssh.DefaultClient
	if len(r.Auth.SSHKey) == 0 {
		return nil // the agent, and the user's known hosts
	}
	keys, err := gitssh.NewPublicKeys(user, r.Auth.SSHKey, string(r.Auth.SSHPassphrase))
	if err != nil {
		return fault.Usagef("the SSH key for %s cannot be read: want a private key in OpenSSH or PEM form, and its passphrase: %w", c.endpoint.Host, err)
	}
	c.auth = keys
	if len(r.Auth.KnownHosts) == 0 {
		return nil
	}
	file, err := os.CreateTemp("", "aksflow-known-hosts-")
	if err != nil {
		return fmt.Errorf("cannot write the known hosts: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(r.Auth.KnownHosts)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("cannot write the known hosts: %w", err)
	}
	db, err := knownhosts.NewDB(file.Name())
	if err != nil {
		return fault.Usagef("the known hosts cannot be read: want the form of ssh_known_hosts: %w", err)
	}
	port := c.endpoint.Port
	if port == 0 {
		port = gitssh.DefaultPort
	}
	keys.HostKeyCallback = db.HostKeyCallback()
	keys.HostKeyAlgorithms = db.HostKeyAlgorithms(net.JoinHostPort(c.endpoint.Host, fmt.Sprint(port)))
	return nil
}

// historyDepth is how many commits are fetched: enough to see that an image was taken back, and cheap, since commits
// differ in little.
const historyDepth = 50

// fetch brings the tips of branches here with some history, and returns them; a branch that does not exist is the zero
// hash. An empty name is the default branch, whose name is returned.
func (c *clone) fetch(ctx context.Context, branches ...string) (tips []plumbing.Hash, defaultBranch string, err error) {
	session, err := c.transport.NewUploadPackSession(c.endpoint, c.auth)
	if err != nil {
		return nil, "", c.explain("read", err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, "", c.explain("read", err)
	}
	for _, symref := range advertised.Capabilities.Get(capability.SymRef) {
		if name, found := strings.CutPrefix(symref, "HEAD:refs/heads/"); found {
			defaultBranch = name
		}
	}
	request := packp.NewUploadPackRequestFromCapabilities(advertised.Capabilities)
	for _, branch := range branches {
		if branch == "" {
			branch = defaultBranch
		}
		tip := advertised.References["refs/heads/"+branch]
		tips = append(tips, tip)
		if !tip.IsZero() && c.store.HasEncodedObject(tip) != nil {
			request.Wants = append(request.Wants, tip)
		}
	}
	if len(request.Wants) == 0 {
		return tips, defaultBranch, nil
	}
	if advertised.Capabilities.Supports(capability.Shallow) {
		request.Depth = packp.DepthCommits(historyDepth)
		request.Capabilities.Set(capability.Shallow)
	}
	if c.azure {
		// Azure Repos answers only clients that claim multi_ack. Without haves there is nothing to acknowledge, so the
		// claim need not be kept.
		request.Capabilities.Set(capability.MultiACK)
	} else {
		request.Haves = c.tips
		if request.Shallows, err = c.store.Shallow(); err != nil {
			return nil, "", err
		}
	}
	if request.Capabilities.Supports(capability.Sideband64k) || request.Capabilities.Supports(capability.Sideband) {
		request.Capabilities.Set(capability.NoProgress)
	}
	response, err := session.UploadPack(ctx, request)
	if err != nil {
		return nil, "", c.explain("read", err)
	}
	defer func() { err = errors.Join(err, response.Close()) }()
	if err := packfile.UpdateObjectStorage(c.store, demultiplexed(request.Capabilities, response)); err != nil {
		return nil, "", c.explain("read", err)
	}
	if err := c.updateShallow(response); err != nil {
		return nil, "", err
	}
	c.tips = append(c.tips, request.Wants...)
	return tips, defaultBranch, nil
}

func demultiplexed(capabilities *capability.List, r io.Reader) io.Reader {
	switch {
	case capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// updateShallow records where the history ends.
func (c *clone) updateShallow(response *packp.UploadPackResponse) error {
	old, err := c.store.Shallow()
	if err != nil {
		return err
	}
	ends := map[plumbing.Hash]bool{}
	for _, h := range append(old, response.Shallows...) {
		ends[h] = true
	}
	for _, h := range response.Unshallows {
		delete(ends, h)
	}
	shallow := make([]plumbing.Hash, 0, len(ends))
	for h := range ends {
		shallow = append(shallow, h)
	}
	return c.store.SetShallow(shallow)
}

// errRaced says that another writer was faster.
var errRaced = errors.New("the branch has moved")

// push sends objects and moves a branch from old to its new commit, if it still stands at old; old is the zero hash for
// a new branch. The server compares, so nobody's commit is lost. It returns errRaced when the branch has moved.
func (c *clone) push(ctx context.Context, branch string, old, commit plumbing.Hash, objects []plumbing.Hash) (err error) {
	session, err := c.transport.NewReceivePackSession(c.endpoint, c.auth)
	if err != nil {
		return c.explain("push to", err)
	}
	defer func() {
		// Over SSH the exit code of a refused push comes with closing; the report has said why already.
		if closeErr := session.Close(); err == nil && closeErr != nil {
			err = c.explain("push to", closeErr)
		}
	}()
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return c.explain("push to", err)
	}
	name := plumbing.NewBranchReferenceName(branch)
	if advertised.References[name.String()] != old {
		return errRaced
	}
	request := packp.NewReferenceUpdateRequestFromCapabilities(advertised.Capabilities)
	if advertised.Capabilities.Supports(capability.Sideband64k) {
		request.Capabilities.Set(capability.Sideband64k)
	}
	var remarks remoteLines
	request.Progress = &remarks
	request.Commands = []*packp.Command{{Name: name, Old: old, New: commit}}
	reader, writer := io.Pipe()
	request.Packfile = reader
	go func() {
		_, err := packfile.NewEncoder(writer, c.store, false).Encode(objects, 0)
		writer.CloseWithError(err)
	}()
	defer reader.Close()
	status, err := session.ReceivePack(ctx, request)
	if status != nil {
		for _, command := range status.CommandStatuses {
			if command.Status != "ok" {
				return c.refused(branch, command.Status, remarks)
			}
		}
	}
	if err != nil {
		return c.explain("push to", err)
	}
	return nil
}

// refused tells a lost race from a refusal that stays.
func (c *clone) refused(branch, status string, remarks remoteLines) error {
	for _, race := range []string{
		"fetch first", "non-fast-forward", "cannot lock ref", "failed to update ref", "failed to lock", "unable to lock",
		"stale info", "reference already exists", "incorrect old value",
	} {
		if strings.Contains(strings.ToLower(status), race) {
			return errRaced
		}
	}
	said := ""
	if lines := remarks.lines(); lines != "" {
		said = "; the server says: " + lines
	}
	return fmt.Errorf("%s refuses the push to branch %s: %s%s: if the branch is protected, deliver through a pull request (--pull-request) or let this account push",
		c.url, branch, status, said)
}

// remoteLines collects what the server prints beside its report.
type remoteLines []byte

// Write implements io.Writer; what exceeds a few lines is dropped.
func (r *remoteLines) Write(p []byte) (int, error) {
	const most = 2048
	if room := most - len(*r); room > 0 {
		*r = append(*r, p[:min(len(p), room)]...)
	}
	return len(p), nil
}

func (r remoteLines) lines() string {
	var out []string
	for line := range strings.Lines(string(r)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, " / ")
}

// temporaryError is a failure of the network or of the server that another try may heal.
type temporaryError struct{ error }

func (e temporaryError) Unwrap() error { return e.error }

// explain says what a transport's error means, and what to do about it.
func (c *clone) explain(doing string, err error) error {
	var status *githttp.Err
	var netErr net.Error
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("cannot %s %s: %w", doing, c.url, err)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return fmt.Errorf("cannot %s %s: there is no such repository, or these credentials may not see it", doing, c.url)
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return fmt.Errorf("cannot %s %s: the repository is empty: commit the manifests first", doing, c.url)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		if c.auth == nil {
			return fmt.Errorf("cannot %s %s: it wants credentials and none were given", doing, c.url)
		}
		return fmt.Errorf("cannot %s %s: the credentials are refused: is the token right, and not expired?", doing, c.url)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Errorf("cannot %s %s: these credentials may not: give the account write access to the repository", doing, c.url)
	case strings.Contains(err.Error(), "knownhosts:"):
		return fmt.Errorf("cannot %s %s: the host's key is not among the known hosts: add it with ssh-keyscan after checking it: %w", doing, c.url, err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("cannot %s %s: the SSH key is refused: add its public half to the repository's deploy keys", doing, c.url)
	case errors.As(err, &status):
		err = fmt.Errorf("cannot %s %s: the server answers %s", doing, c.url, status.Response.Status)
		if code := status.StatusCode(); code == http.StatusTooManyRequests || code >= 500 {
			return temporaryError{err}
		}
		return err
	case errors.As(err, &dnsErr) && dnsErr.IsNotFound:
		return fmt.Errorf("cannot %s %s: there is no host %s", doing, c.url, dnsErr.Name)
	case errors.As(err, &netErr), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return temporaryError{fmt.Errorf("cannot %s %s: %w", doing, c.url, withoutURL(err))}
	}
	return fmt.Errorf("cannot %s %s: %w", doing, c.url, err)
}

// withoutURL drops the request from an error: the message names the remote already.
func withoutURL(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// commit returns a commit that was fetched.
func (c *clone) commit(h plumbing.Hash) (*object.Commit, error) { return object.GetCommit(c.store, h) }

// history returns commits from tip on, newest first, along first parents, as far as they were fetched.
func (c *clone) history(tip plumbing.Hash) ([]*object.Commit, error) {
	var out []*object.Commit
	for len(out) < historyDepth {
		commit, err := c.commit(tip)
		if errors.Is(err, plumbing.ErrObjectNotFound) && len(out) > 0 {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, commit)
		if len(commit.ParentHashes) == 0 {
			return out, nil
		}
		tip = commit.ParentHashes[0]
	}
	return out, nil
}

// Contains tells whether revision, a commit on the remote's branch, has commit in its history, as far as that is recent.
func (r Remote) Contains(ctx context.Context, branch, revision, commit string) (bool, error) {
	if revision == commit {
		return true, nil
	}
	c, err := r.open(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tips, _, err := c.fetch(ctx, branch)
	if err != nil {
		return false, err
	}
	if tips[0].IsZero() {
		return false, fmt.Errorf("%s has no branch %s", r.URL, branch)
	}
	found := false
	seen := map[plumbing.Hash]bool{}
	queue := []plumbing.Hash{plumbing.NewHash(revision)}
	for len(queue) > 0 && !found {
		h := queue[0]
		queue = queue[1:]
		if seen[h] {
			continue
		}
		seen[h] = true
		found = h.String() == commit
		if next, err := c.commit(h); err == nil {
			queue = append(queue, next.ParentHashes...)
		}
	}
	return found, nil
}
