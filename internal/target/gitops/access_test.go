package gitops

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/git/forge"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

func TestBumpOverSSH(t *testing.T) {
	r := voteRepo(t)
	key, public := gittest.SSHKey(t, "open sesame")
	address, known := gittest.SSHServer(t, filepath.Dir(r.Bare), public)
	o := options(r, "shop/vote:2@"+gittest.Digest(2))
	o.Remote = git.Remote{
		URL: "ssh://git@" + address + "/config.git",
		Access: delivery.GitAccess{
			SSHKey: key, SSHPassphrase: []byte("open sesame"), KnownHosts: []byte(known + "\n"),
			SigningKey: key, SigningPassphrase: []byte("open sesame"),
		},
	}
	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, r.Run(r.Bare, "rev-parse", "main"), result.Commit)

	assert.Contains(t, r.Run(r.Bare, "cat-file", "commit", "main"), "gpgsig -----BEGIN SSH SIGNATURE-----")

	t.Run("protected branch", func(t *testing.T) {
		r.Hook("pre-receive", `echo "not here" >&2; exit 1`)
		refused := o
		refused.Target.Image = "shop/vote:3"
		_, err := Bump(t.Context(), refused)
		require.ErrorContains(t, err, "refuses the push to branch main")
	})
	t.Run("another host key", func(t *testing.T) {
		_, other := gittest.SSHKey(t, "")
		stranger := o
		stranger.Remote.Access.KnownHosts = []byte(knownhosts.Line([]string{address}, other) + "\n")
		_, err := Bump(t.Context(), stranger)
		require.ErrorContains(t, err, "not among the known hosts")
	})
	t.Run("another key", func(t *testing.T) {
		stranger := o
		stranger.Remote.Access.SSHKey, _ = gittest.SSHKey(t, "")
		_, err := Bump(t.Context(), stranger)
		require.ErrorContains(t, err, "the SSH key is refused")
	})
	t.Run("wrong passphrase", func(t *testing.T) {
		stranger := o
		stranger.Remote.Access.SSHPassphrase = []byte("guess")
		_, err := Bump(t.Context(), stranger)
		require.ErrorContains(t, err, "cannot be read")
	})
	t.Run("no such repository", func(t *testing.T) {
		missing := o
		missing.Remote.URL = "ssh://git@" + address + "/other.git"
		_, err := Bump(t.Context(), missing)
		require.ErrorContains(t, err, "other.git: there is no such repository")
	})
}

// Azure Repos wants clients to claim multi_ack, which go-git leaves out, and then must get no haves.
func TestBumpOnAzureRepos(t *testing.T) {
	r := voteRepo(t)
	real := strings.TrimPrefix(r.URL[:strings.LastIndexByte(r.URL, '/')], "http://")
	direct := http.DefaultTransport.(*http.Transport).Clone()
	azure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		assert.NoError(t, err)
		if strings.HasSuffix(q.URL.Path, "/git-upload-pack") {
			assert.Contains(t, string(body), " multi_ack")
			assert.NotContains(t, string(body), "have ")
		}
		forward, err := http.NewRequestWithContext(q.Context(), q.Method, "http://"+real+strings.TrimPrefix(q.URL.Path, "/org/project/_git")+"?"+q.URL.RawQuery, bytes.NewReader(body))
		assert.NoError(t, err)
		forward.Header = q.Header
		answer, err := (&http.Client{Transport: direct}).Do(forward)
		if !assert.NoError(t, err) {
			return
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}))
	defer azure.Close()
	o := options(r, "shop/vote:2")
	o.Remote.URL = "http://dev.azure.com/org/project/_git/config.git"
	transport := http.DefaultTransport
	defer func() { http.DefaultTransport = transport }()
	http.DefaultTransport = &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		assert.Equal(t, "dev.azure.com:80", address)
		return (&net.Dialer{}).DialContext(ctx, network, azure.Listener.Addr().String())
	}}
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Contains(t, r.Show("main", "apps/vote/deployment.yaml"), "shop/vote:2")
}

func TestSignedCommits(t *testing.T) {
	t.Run("SSH", func(t *testing.T) {
		r := voteRepo(t)
		key, public := gittest.SSHKey(t, "secret")
		o := options(r, "shop/vote:2")
		o.Remote.Access.SigningKey, o.Remote.Access.SigningPassphrase = key, []byte("secret")
		_, err := Bump(t.Context(), o)
		require.NoError(t, err)
		if _, err := exec.LookPath("ssh-keygen"); err != nil {
			t.Skip("needs ssh-keygen, with which git checks the signature")
		}
		allowed := filepath.Join(t.TempDir(), "allowed")
		require.NoError(t, os.WriteFile(allowed, []byte("pipeline@example.com "+string(ssh.MarshalAuthorizedKey(public))), 0o600))
		assert.Contains(t, r.Run(r.Bare, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "main"), "Good")
	})
	t.Run("OpenPGP", func(t *testing.T) {
		r := voteRepo(t)
		entity, err := openpgp.NewEntity("Pipeline", "", "pipeline@example.com", nil)
		require.NoError(t, err)
		var private, public bytes.Buffer
		w, err := armor.Encode(&private, openpgp.PrivateKeyType, nil)
		require.NoError(t, err)
		require.NoError(t, entity.SerializePrivate(w, nil))
		require.NoError(t, w.Close())
		w, err = armor.Encode(&public, openpgp.PublicKeyType, nil)
		require.NoError(t, err)
		require.NoError(t, entity.Serialize(w))
		require.NoError(t, w.Close())
		o := options(r, "shop/vote:2")
		o.Remote.Access.SigningKey = private.Bytes()
		_, err = Bump(t.Context(), o)
		require.NoError(t, err)
		if _, err := exec.LookPath("gpg"); err != nil {
			t.Skip("needs gpg, with which git checks the signature")
		}
		home, err := os.MkdirTemp("", "gpg") // its socket's path must be short
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
			os.RemoveAll(home)
		})
		t.Setenv("GNUPGHOME", home)
		gpg := exec.Command("gpg", "--batch", "--import")
		gpg.Stdin = &public
		out, err := gpg.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, r.Run(r.Bare, "verify-commit", "main"), "Good signature")
	})
	t.Run("neither", func(t *testing.T) {
		o := options(voteRepo(t), "shop/vote:2")
		o.Remote.Access.SigningKey = []byte("x")
		_, err := Bump(t.Context(), o)
		require.ErrorContains(t, err, "want an armored OpenPGP or an SSH private key")
	})
}

// hub is the part of GitHub's API that pull requests need, in memory, with an installation's token.
type hub struct {
	*httptest.Server
	requests []map[string]any
	calls    []string
	clean    bool // auto-merge is refused, since nothing is to be waited for
}

// newHub serves the API for the repository at /shop/config.git, whose git requests it forwards to r's server.
func newHub(t *testing.T, r *gittest.Repository) *hub {
	h := &hub{}
	server, err := url.Parse(r.URL[:strings.LastIndexByte(r.URL, '/')])
	require.NoError(t, err)
	backend := httputil.NewSingleHostReverseProxy(server)
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		assert.NoError(t, json.NewEncoder(w).Encode(v))
	}
	body := func(r *http.Request) map[string]any {
		v := map[string]any{}
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&v))
		return v
	}
	pulls := "/repos/shop/config/pulls"
	mux.HandleFunc("GET "+pulls, func(w http.ResponseWriter, r *http.Request) {
		open := []map[string]any{}
		for _, p := range h.requests {
			if p["head"].(map[string]any)["label"] == r.FormValue("head") && p["base"].(map[string]any)["ref"] == r.FormValue("base") {
				open = append(open, p)
			}
		}
		answer(w, 200, open)
	})
	mux.HandleFunc("POST "+pulls, func(w http.ResponseWriter, r *http.Request) {
		p := body(r)
		number := len(h.requests) + 1
		p["head"] = map[string]any{"label": fmt.Sprint("shop:", p["head"])}
		p["base"] = map[string]any{"ref": p["base"]}
		p["number"], p["node_id"], p["html_url"] = number, fmt.Sprint("node", number), fmt.Sprintf("https://github.example.com/shop/config/pull/%d", number)
		h.requests = append(h.requests, p)
		answer(w, 201, p)
	})
	mux.HandleFunc("PATCH "+pulls+"/1", func(w http.ResponseWriter, r *http.Request) {
		for k, v := range body(r) {
			h.requests[0][k] = v
		}
		answer(w, 200, h.requests[0])
	})
	mux.HandleFunc("PUT "+pulls+"/1/merge", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, map[string]any{"merged": true})
	})
	mux.HandleFunc("POST /repos/shop/config/issues/1/labels", func(w http.ResponseWriter, r *http.Request) {
		var labels []string
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&labels))
		var out []map[string]any
		for _, l := range labels {
			out = append(out, map[string]any{"name": l})
		}
		h.requests[0]["labels"] = out
		answer(w, 200, out)
	})
	mux.HandleFunc("POST /app/installations/42/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		assert.True(t, strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey"))
		answer(w, 201, map[string]any{"token": gittest.Token, "expires_at": "2999-01-01T00:00:00Z"})
	})
	graphql := func(w http.ResponseWriter, r *http.Request) {
		query := body(r)
		if h.clean {
			answer(w, 200, map[string]any{"errors": []map[string]any{{"message": "Pull request is in clean status"}}})
			return
		}
		h.requests[0]["auto_merge"] = map[string]any{"merge_method": query["variables"].(map[string]any)["method"]}
		answer(w, 200, map[string]any{"data": map[string]any{}})
	}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/graphql" {
			h.calls = append(h.calls, "POST graphql")
			graphql(w, r)
			return
		}
		if path, found := strings.CutPrefix(r.URL.Path, "/shop"); found {
			r.URL.Path = path
			backend.ServeHTTP(w, r)
			return
		}
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/api/v3")
		h.calls = append(h.calls, r.Method+" "+r.URL.Path)
		if auth := r.Header.Get("Authorization"); auth != "Bearer "+gittest.Token && !strings.HasPrefix(r.URL.Path, "/app/") {
			answer(w, 401, map[string]any{"message": "Bad credentials"})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func TestPullRequests(t *testing.T) {
	r := voteRepo(t)
	h := newHub(t, r)
	o := options(r, "registry.example.com/shop/vote:2@"+gittest.Digest(2))
	o.PipelineRun = "https://ci.example.com/7"
	o.Remote.URL = h.URL + "/shop/config.git"
	o.PullRequest = &PullRequest{Labels: []string{"delivery", "vote"}, AutoMerge: "squash"}
	base := r.Run(r.Bare, "rev-parse", "main")

	first, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "https://github.example.com/shop/config/pull/1", first.PullRequest)
	assert.Equal(t, "aksflow/apps/vote/vote", first.Branch)
	assert.Equal(t, base, r.Run(r.Bare, "rev-parse", "main"), "the base is not pushed to")
	assert.Equal(t, first.Commit, r.Run(r.Bare, "rev-parse", first.Branch))
	assert.Equal(t, base, r.Run(r.Bare, "rev-parse", first.Branch+"~"))
	assert.Equal(t, "Deliver vote 2 to apps/vote", h.requests[0]["title"])
	assert.Contains(t, h.requests[0]["body"], "| `apps/vote/deployment.yaml:10` | `shop/vote:1` | `registry.example.com/shop/vote:2@"+gittest.Digest(2)+"` |")
	assert.Contains(t, h.requests[0]["body"], "Pipeline: https://ci.example.com/7")
	assert.Len(t, h.requests[0]["labels"], 2)
	assert.Equal(t, map[string]any{"merge_method": "SQUASH"}, h.requests[0]["auto_merge"])

	h.calls = nil
	again, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, first.Commit, again.Commit, "the same change on the same base is the same commit")
	assert.Zero(t, again.Attempts)
	assert.Equal(t, []string{"GET /repos/shop/config/pulls"}, h.calls, "nothing to change")

	// The base moves and a newer image comes: the branch is rebuilt, the request reused.
	base = r.Commit("other", map[string]string{"README.md": "other\n"})
	o.Target.Image = "registry.example.com/shop/vote:3@" + gittest.Digest(3)
	next, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, first.PullRequest, next.PullRequest)
	assert.Equal(t, base, r.Run(r.Bare, "rev-parse", next.Branch+"~"))
	assert.Equal(t, "Deliver vote 3 to apps/vote", h.requests[0]["title"])
	assert.Len(t, h.requests, 1)

	// Merged: nothing is left to ask for.
	r.Run(r.Bare, "update-ref", "refs/heads/main", next.Branch)
	h.calls = nil
	merged, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, merged.Unchanged)
	assert.Empty(t, merged.PullRequest)
	assert.Empty(t, h.calls)
}

func TestPullRequestThatCouldBeMergedAtOnce(t *testing.T) {
	r := voteRepo(t)
	h := newHub(t, r)
	h.clean = true
	o := options(r, "shop/vote:2")
	o.Remote.URL = h.URL + "/shop/config.git"
	o.PullRequest = &PullRequest{AutoMerge: "merge"}
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "PUT /repos/shop/config/pulls/1/merge", h.calls[len(h.calls)-1])

	o.PullRequest.AutoMerge = "now"
	_, err = Bump(t.Context(), o)
	require.ErrorContains(t, err, "want merge, squash or rebase")
}

func TestGitHubAppForGitAndPullRequests(t *testing.T) {
	r := voteRepo(t)
	h := newHub(t, r)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	o := options(r, "shop/vote:2")
	o.Remote.URL = h.URL + "/shop/config.git"
	o.Remote.Access = delivery.GitAccess{App: &delivery.GitHubApp{
		AppID: 7, InstallationID: 42,
		PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}}
	o.PullRequest = &PullRequest{}
	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.NotEmpty(t, result.PullRequest)

	o.Remote.Access.App.PrivateKey = []byte("x")
	_, err = Bump(t.Context(), o)
	require.ErrorContains(t, err, "GitHub App 7: its private key cannot be read")
}

// All of a pull target's servers are reached where the network leads: git and the host's API, over HTTP and SSH.
func TestBumpThroughAnotherNetwork(t *testing.T) {
	to := func(address string) dial.Network {
		n, err := dial.To(address)
		require.NoError(t, err)
		return n
	}
	t.Run("http", func(t *testing.T) {
		r := voteRepo(t)
		h := newHub(t, r)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		o := options(r, "shop/vote:2")
		o.Remote.URL, o.Remote.Network = "http://git.invalid/shop/config.git", to(h.Listener.Addr().String())
		o.Remote.Access = delivery.GitAccess{App: &delivery.GitHubApp{
			AppID: 7, InstallationID: 42,
			PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		}}
		o.PullRequest = &PullRequest{}
		result, err := Bump(t.Context(), o)
		require.NoError(t, err)
		assert.NotEmpty(t, result.PullRequest)
	})
	t.Run("ssh", func(t *testing.T) {
		r := voteRepo(t)
		key, public := gittest.SSHKey(t, "")
		address, known := gittest.SSHServer(t, filepath.Dir(r.Bare), public)
		_, hostKey, _ := strings.Cut(known, " ")
		o := options(r, "shop/vote:2")
		o.Remote = git.Remote{
			URL: "git@git.invalid:config.git", Network: to(address),
			Access: delivery.GitAccess{SSHKey: key, KnownHosts: []byte("git.invalid " + hostKey + "\n")},
		}
		result, err := Bump(t.Context(), o)
		require.NoError(t, err)
		assert.Equal(t, r.Run(r.Bare, "rev-parse", "main"), result.Commit)

		o.Target.Image = "shop/vote:3"
		o.Remote.Access.KnownHosts = []byte(known + "\n") // the key of the address, and not of the name
		_, err = Bump(t.Context(), o)
		require.ErrorContains(t, err, "the host's key is not among the known hosts")
	})
}

func TestPullRequestOnAnotherHost(t *testing.T) {
	for _, url := range []string{"https://dev.azure.com/org/project/_git/config", "git@gitlab.com:team/config.git"} {
		_, err := forge.For(t.Context(), git.Remote{URL: url})
		require.ErrorContains(t, err, "cannot open pull requests yet")
	}
	_, err := forge.For(t.Context(), git.Remote{URL: "https://github.com/team/config"})
	require.ErrorContains(t, err, "needs a token or a GitHub App")
}
