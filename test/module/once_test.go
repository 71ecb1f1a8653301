package module

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// builtOnce publishes sources by the module and by the command: what one of them built and tested, the other takes.
func (m *module) builtOnce(t *testing.T) {
	host, _, _ := strings.Cut(strings.TrimPrefix(m.given.Variables[0], "BASE="), "/")
	root := repositoryOf(t, map[string]string{
		"aksflow.yaml": "app: once\nbuild: {target: app, args: {BASE: \"${BASE}\"}}\ntest: {unit: {target: test}}\n" +
			"environments: {dev: {registry: " + host + ", manifests: manifests}}\n",
		"Dockerfile": "ARG BASE\nARG MORE=none\nFROM $BASE AS app\nARG MORE\nCOPY text run.sh /app/\n" +
			"FROM app AS test\nCOPY check.sh /\nRUN mkdir /reports\nCMD [\"sh\", \"/check.sh\"]\n",
		"text": "one", "run.sh": "#!/bin/sh\n", "ignored/by-git": "x", ".gitignore": "ignored\n", ".dockerignore": ".git\n",
		"check.sh":           "echo '<testsuite name=\"s\"><testcase name=\"n\"/></testsuite>' > /reports/r.xml\n",
		"manifests/all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	})
	require.NoError(t, os.Chmod(filepath.Join(root, "run.sh"), 0o755))
	gitIn(t, root)("commit", "-qam", "executable")
	at := func(c call) call {
		c.Root, c.Env, c.RegistryServer = moved(t, root), "dev", host // an engine reads a directory once in a session
		return c
	}

	t.Run("SameKeys", func(t *testing.T) {
		for _, args := range [][]string{nil, {"MORE=some"}} {
			var byModule, byCommand keys
			out := m.call(t, at(call{Function: "plan", BuildArgs: args, Format: "json"}))
			require.NoError(t, json.Unmarshal([]byte(out), &byModule))
			line := []string{"plan", "--env", "dev", "--output", "json"}
			for _, arg := range args {
				line = append(line, "--build-arg", arg)
			}
			require.NoError(t, json.Unmarshal([]byte(m.command(t, root, line...)), &byCommand))
			assert.Len(t, byModule.BuildKey, 64)
			assert.Len(t, byModule.TestKey, 64)
			assert.Equal(t, byCommand, byModule)
		}
	})

	t.Run("ByTheModule", func(t *testing.T) {
		assert.Equal(t, "1 passed", m.call(t, at(call{Function: "test"})), "nothing is recorded yet")
		first := m.call(t, at(call{Function: "publish", Tags: []string{"v1"}}))
		assert.Regexp(t, "^"+host+"/once@sha256:", first)
		assert.Equal(t, "1 passed; no test ran", m.call(t, at(call{Function: "test"})))
		assert.Equal(t, "1 passed", m.call(t, at(call{Function: "test", Retest: true})))
		assert.Equal(t, first, m.call(t, at(call{Function: "publish"})))
		assert.Contains(t, attached(t, first), "application/vnd.in-toto", "the tests and the provenance are attached")

		built := m.published(t, root)
		assert.Equal(t, first, built.Image)
		assert.True(t, built.Unchanged)
		assert.Contains(t, built.log, "image of this source is in the registry")
		assert.Contains(t, built.log, "no test ran")
	})

	t.Run("ByTheCommand", func(t *testing.T) {
		write(t, root, map[string]string{"text": "two"})
		gitIn(t, root)("commit", "-qam", "two")
		built := m.published(t, root)
		assert.False(t, built.Unchanged)
		assert.Equal(t, "1 passed; no test ran", m.call(t, at(call{Function: "test"})))
		assert.Equal(t, built.Image, m.call(t, at(call{Function: "publish"})))
	})

	t.Run("Rebuild", func(t *testing.T) {
		before := m.published(t, root).Image
		again := m.call(t, at(call{Function: "publish", Rebuild: true}))
		assert.Equal(t, before, again, "the same source is the same image")
		var plan keys
		require.NoError(t, json.Unmarshal([]byte(m.call(t, at(call{Function: "plan", Format: "json"}))), &plan))
		assert.Equal(t, "0.1", plan.Generation)
	})

	t.Run("Dirty", func(t *testing.T) {
		write(t, root, map[string]string{"text": "three"})
		assert.NotEmpty(t, m.call(t, at(call{Function: "publish"})))
		assert.Equal(t, "1 passed", m.call(t, at(call{Function: "test"})), "what is not committed is recorded nowhere")
	})
}

// keys are what a plan says about the image of a source.
type keys struct {
	BuildKey, SourceKey, TestKey, Generation string
	Images                                   map[string]string
}

// publication is what `aksflow publish` did.
type publication struct {
	Image     string
	Unchanged bool
	log       string
}

// published publishes by the command.
func (m *module) published(t *testing.T, root string) (p publication) {
	t.Helper()
	cmd := exec.Command(m.given.Aksflow, "publish", "--config", filepath.Join(moved(t, root), "aksflow.yaml"), "--env", "dev",
		"--output", "json", "--engine", "dagger", "--state", t.TempDir()) // the engine is another process, with a directory of its own
	cmd.Env = append(append(os.Environ(), m.session...), m.given.Variables[0])
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	require.NoError(t, err, "%s", log.String())
	require.NoError(t, json.Unmarshal(out, &p))
	p.log = log.String()
	return p
}

// command runs the command in a directory, with the variables of the module, and returns its standard output.
func (m *module) command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(m.given.Aksflow, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), m.given.Variables[0])
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}

// attached returns the types of what is attached to an image.
func attached(t *testing.T, image string) string {
	t.Helper()
	digest, err := name.NewDigest(image)
	require.NoError(t, err)
	index, err := remote.Referrers(digest)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	var types []string
	for _, m := range manifest.Manifests {
		types = append(types, m.ArtifactType)
	}
	return strings.Join(types, " ")
}

// repositoryOf makes a git repository of files.
func repositoryOf(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, files)
	git := gitIn(t, root)
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	return root
}

// gitBySSH pushes a bump to a server that asks for a key of the caller's SSH agent.
func (m *module) gitBySSH(t *testing.T) {
	host, _, _ := strings.Cut(strings.TrimPrefix(m.given.Variables[0], "BASE="), "/")
	key, public := gittest.SSHKey(t, "")
	private, err := ssh.ParseRawPrivateKey(key)
	require.NoError(t, err)
	ring := agent.NewKeyring()
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	server := t.TempDir()
	bare := filepath.Join(server, "config.git")
	address, known := gittest.SSHServer(t, server, public)
	hosts := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(hosts, []byte(known+"\n"), 0o600))

	root := repositoryOf(t, map[string]string{
		"aksflow.yaml": "app: byssh\nbuild: {args: {BASE: \"${BASE}\"}}\nenvironments:\n  dev:\n    target: pull\n    registry: " + host + "\n    manifests: manifests\n" +
			"    gitops: {repo: \"ssh://git@" + address + "/config.git\", path: manifests, application: byssh}\n",
		"Dockerfile":         "ARG BASE\nFROM $BASE\n",
		"manifests/all.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: " + host + "/byssh:0}]}\n",
	})
	git := gitIn(t, root)
	git("clone", "-q", "--bare", root, bare)
	delivery := call{
		Function: "deliver", Root: root, Env: "dev", RegistryServer: host, GitSSHAgent: serveAgent(t, ring), GitKnownHosts: hosts, GitServer: address,
		Kubeconfig: "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: \"https://kubernetes.invalid:6443\"}}]\n" +
			"contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {token: none}}]\n",
		Flag: []string{"--timeout=90s"},
	}
	_, err = m.try(delivery)
	assert.ErrorContains(t, err, "kubernetes.invalid", "the commit is pushed, and there is no cluster")
	assert.Regexp(t, host+"/byssh:[^@]+@sha256:", gitIn(t, bare)("show", "main:manifests/all.yaml"))

	strange := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(strange, []byte("other.example "+string(ssh.MarshalAuthorizedKey(public))), 0o600))
	delivery.GitKnownHosts = strange
	_, err = m.try(delivery)
	assert.ErrorContains(t, err, "not among the known hosts")
	delivery.GitKnownHosts, delivery.GitSSHAgent = hosts, serveAgent(t, agent.NewKeyring())
	_, err = m.try(delivery)
	assert.ErrorContains(t, err, "key", "an agent without the key")
}

// serveAgent serves the keys of an SSH agent, and returns its socket.
func serveAgent(t *testing.T, keys agent.Agent) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn) }()
		}
	}()
	return socket
}
