package gitops

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
)

// sshServer serves the repositories of a directory to one key, with git's own programs. It returns its address and the
// line for known_hosts.
func sshServer(t *testing.T, dir string, client ssh.PublicKey) (address, knownHost string) {
	t.Helper()
	gitBackend(t)
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	host, err := ssh.NewSignerFromKey(hostKey)
	require.NoError(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), client.Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveSSH(conn, config, dir)
		}
	}()
	return listener.Addr().String(), knownhosts.Line([]string{listener.Addr().String()}, host.PublicKey())
}

func serveSSH(conn net.Conn, config *ssh.ServerConfig, dir string) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.Type != "exec" {
					continue
				}
				_ = r.Reply(true, nil)
				command := string(r.Payload[4:]) // git-upload-pack '/config.git'
				program, path, _ := strings.Cut(command, " ")
				cmd := exec.Command("git", strings.TrimPrefix(program, "git-"), filepath.Join(dir, strings.Trim(path, "'")))
				cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
				code := 0
				// Not cmd.Stdin: Run would wait for the client to close its side.
				if in, err := cmd.StdinPipe(); err == nil {
					go func() {
						_, _ = io.Copy(in, channel)
						in.Close()
					}()
				}
				if err := cmd.Run(); err != nil {
					code = 1
				}
				_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(code)))
				channel.Close()
			}
		}()
	}
}

func sshKey(t *testing.T, passphrase string) (key []byte, public ssh.PublicKey) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	require.NoError(t, err)
	public, err = ssh.NewPublicKey(pub)
	require.NoError(t, err)
	return pem.EncodeToMemory(block), public
}

func TestBumpOverSSH(t *testing.T) {
	r := voteRepo(t)
	key, public := sshKey(t, "open sesame")
	address, known := sshServer(t, filepath.Dir(r.bare), public)
	o := options(r, "shop/vote:2@"+digest(2))
	o.Remote = Remote{
		URL:  "ssh://git@" + address + "/config.git",
		Auth: Auth{SSHKey: key, SSHPassphrase: []byte("open sesame"), KnownHosts: []byte(known + "\n")},
	}
	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, r.run(r.bare, "rev-parse", "main"), result.Commit)

	t.Run("as the environment says, and signed", func(t *testing.T) {
		file := func(content []byte) string {
			name := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(name, content, 0o600))
			return name
		}
		t.Setenv("AKSFLOW_GIT_SSH_KEY", file(key))
		t.Setenv("AKSFLOW_GIT_SSH_PASSPHRASE", "open sesame")
		t.Setenv("AKSFLOW_GIT_KNOWN_HOSTS", file([]byte(known+"\n")))
		t.Setenv("AKSFLOW_GIT_SIGNING_KEY", file(key))
		t.Setenv("AKSFLOW_GIT_SIGNING_PASSPHRASE", "open sesame")
		plain := o
		plain.Remote.Auth = Auth{}
		plain.Target.Image = "shop/vote:4"
		_, err := Bump(t.Context(), plain)
		require.NoError(t, err)
		assert.Contains(t, r.run(r.bare, "cat-file", "commit", "main"), "gpgsig -----BEGIN SSH SIGNATURE-----")

		t.Setenv("AKSFLOW_GIT_SSH_KEY", "/nowhere")
		_, err = Bump(t.Context(), plain)
		require.ErrorContains(t, err, "the file that AKSFLOW_GIT_SSH_KEY names cannot be read")
	})
	t.Run("protected branch", func(t *testing.T) {
		r.hook("pre-receive", `echo "not here" >&2; exit 1`)
		refused := o
		refused.Target.Image = "shop/vote:3"
		_, err := Bump(t.Context(), refused)
		require.ErrorContains(t, err, "refuses the push to branch main")
	})
	t.Run("another host key", func(t *testing.T) {
		_, other := sshKey(t, "")
		stranger := o
		stranger.Remote.Auth.KnownHosts = []byte(knownhosts.Line([]string{address}, other) + "\n")
		_, err := Bump(t.Context(), stranger)
		require.ErrorContains(t, err, "not among the known hosts")
	})
	t.Run("another key", func(t *testing.T) {
		stranger := o
		stranger.Remote.Auth.SSHKey, _ = sshKey(t, "")
		_, err := Bump(t.Context(), stranger)
		require.ErrorContains(t, err, "the SSH key is refused")
	})
	t.Run("wrong passphrase", func(t *testing.T) {
		stranger := o
		stranger.Remote.Auth.SSHPassphrase = []byte("guess")
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
	real := strings.TrimPrefix(r.url[:strings.LastIndexByte(r.url, '/')], "http://")
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
		answer, err := http.DefaultClient.Do(forward)
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
	o.Remote.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		assert.Equal(t, "dev.azure.com:80", address)
		return (&net.Dialer{}).DialContext(ctx, network, azure.Listener.Addr().String())
	}
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Contains(t, r.show("main", "apps/vote/deployment.yaml"), "shop/vote:2")
}

func TestSignedCommits(t *testing.T) {
	t.Run("SSH", func(t *testing.T) {
		r := voteRepo(t)
		key, public := sshKey(t, "secret")
		o := options(r, "shop/vote:2")
		var err error
		o.Signer, err = NewSigner(key, []byte("secret"))
		require.NoError(t, err)
		_, err = Bump(t.Context(), o)
		require.NoError(t, err)
		if _, err := exec.LookPath("ssh-keygen"); err != nil {
			t.Skip("needs ssh-keygen, with which git checks the signature")
		}
		allowed := filepath.Join(t.TempDir(), "allowed")
		require.NoError(t, os.WriteFile(allowed, []byte("pipeline@example.com "+string(ssh.MarshalAuthorizedKey(public))), 0o600))
		assert.Contains(t, r.run(r.bare, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "main"), "Good")
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
		o.Signer, err = NewSigner(private.Bytes(), nil)
		require.NoError(t, err)
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
		assert.Contains(t, r.run(r.bare, "verify-commit", "main"), "Good signature")
	})
	t.Run("neither", func(t *testing.T) {
		_, err := NewSigner([]byte("x"), nil)
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

func newHub(t *testing.T, prefix string) *hub {
	h := &hub{}
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
		answer(w, 201, map[string]any{"token": serverToken, "expires_at": "2999-01-01T00:00:00Z"})
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
		r.URL.Path = strings.TrimPrefix(r.URL.Path, prefix)
		h.calls = append(h.calls, r.Method+" "+r.URL.Path)
		if auth := r.Header.Get("Authorization"); auth != "Bearer "+serverToken && !strings.HasPrefix(r.URL.Path, "/app/") {
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
	h := newHub(t, "/api/v3")
	o := options(r, "registry.example.com/shop/vote:2@"+digest(2))
	o.PipelineRun = "https://ci.example.com/7"
	o.PullRequest = &PullRequest{
		BaseURL: h.URL + "/api/v3", Owner: "shop", Name: "config", Labels: []string{"delivery", "vote"}, AutoMerge: "squash",
	}
	base := r.run(r.bare, "rev-parse", "main")

	first, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "https://github.example.com/shop/config/pull/1", first.PullRequest)
	assert.Equal(t, "aksflow/apps/vote/vote", first.Branch)
	assert.Equal(t, base, r.run(r.bare, "rev-parse", "main"), "the base is not pushed to")
	assert.Equal(t, first.Commit, r.run(r.bare, "rev-parse", first.Branch))
	assert.Equal(t, base, r.run(r.bare, "rev-parse", first.Branch+"~"))
	assert.Equal(t, "Deliver vote 2 to apps/vote", h.requests[0]["title"])
	assert.Contains(t, h.requests[0]["body"], "| `apps/vote/deployment.yaml:10` | `shop/vote:1` | `registry.example.com/shop/vote:2@"+digest(2)+"` |")
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
	base = r.commit("other", map[string]string{"README.md": "other\n"})
	o.Target.Image = "registry.example.com/shop/vote:3@" + digest(3)
	next, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, first.PullRequest, next.PullRequest)
	assert.Equal(t, base, r.run(r.bare, "rev-parse", next.Branch+"~"))
	assert.Equal(t, "Deliver vote 3 to apps/vote", h.requests[0]["title"])
	assert.Len(t, h.requests, 1)

	// Merged: nothing is left to ask for.
	r.run(r.bare, "update-ref", "refs/heads/main", next.Branch)
	h.calls = nil
	merged, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, merged.Unchanged)
	assert.Empty(t, merged.PullRequest)
	assert.Empty(t, h.calls)
}

func TestPullRequestThatCouldBeMergedAtOnce(t *testing.T) {
	r := voteRepo(t)
	h := newHub(t, "/api/v3")
	h.clean = true
	o := options(r, "shop/vote:2")
	o.PullRequest = &PullRequest{BaseURL: h.URL + "/api/v3/", Owner: "shop", Name: "config", AutoMerge: "merge", Title: "{{.Name}}!", Branch: "bots/vote"}
	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "bots/vote", result.Branch)
	assert.Equal(t, "vote!", h.requests[0]["title"])
	assert.Equal(t, "PUT /repos/shop/config/pulls/1/merge", h.calls[len(h.calls)-1])

	o.PullRequest.AutoMerge = "now"
	_, err = Bump(t.Context(), o)
	require.ErrorContains(t, err, "want merge, squash or rebase")
}

func TestGitHubAppForGitAndPullRequests(t *testing.T) {
	r := voteRepo(t)
	h := newHub(t, "/api/v3")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	o := options(r, "shop/vote:2")
	o.Remote.Auth = Auth{App: &GitHubApp{
		AppID: 7, InstallationID: 42, BaseURL: h.URL + "/api/v3",
		PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}}
	o.PullRequest = &PullRequest{BaseURL: h.URL + "/api/v3", Owner: "shop", Name: "config"}
	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.NotEmpty(t, result.PullRequest)

	o.Remote.Auth.App.PrivateKey = []byte("x")
	_, err = Bump(t.Context(), o)
	require.ErrorContains(t, err, "GitHub App 7: its private key cannot be read")
}
