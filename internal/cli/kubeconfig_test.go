package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// jwt is a token that says when it expires.
func jwt(expires time.Time) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]int64{"exp": expires.Unix()}) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

// clientCertificate returns a certificate and its key, both PEM.
func clientCertificate(t *testing.T, expires time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	block := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// kubeconfigDir makes a directory with a kubeconfig whose user is as given, with a plugin that runs a script, and with
// other files.
func kubeconfigDir(t *testing.T, user, script string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), mode))
	}
	write("source", `apiVersion: v1
kind: Config
current-context: aks
contexts:
- {name: aks, context: {cluster: one, user: deployer, namespace: vote}}
- {name: other, context: {cluster: one, user: nobody}}
clusters:
- name: one
  cluster: {server: "https://aks.example:443", certificate-authority: ca.pem, tls-server-name: api.example}
users:
- {name: deployer, user: `+user+`}
`, 0o600)
	write("ca.pem", "a certificate", 0o600)
	write("plugin", "#!/bin/sh\n"+script+"\n", 0o700)
	for name, content := range files {
		write(name, content, 0o600)
	}
	t.Setenv("KUBECONFIG", "")
	t.Setenv("TF_BUILD", "")
	return dir
}

const pluginUser = `{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, args: [get-token], env: [{name: TENANT, value: t1}], interactiveMode: IfAvailable, provideClusterInfo: true}}`

// credential is what a plugin prints.
func credential(status string) string {
	return `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":` + status + `}`
}

func TestKubeconfigOfEachKindOfUser(t *testing.T) {
	soon := time.Now().Add(58*time.Minute + 30*time.Second).UTC().Truncate(time.Second)
	later := soon.Add(time.Hour)
	certificate, key := clientCertificate(t, later)
	pair, err := json.Marshal(map[string]string{"clientCertificateData": certificate, "clientKeyData": key, "expirationTimestamp": soon.Format(time.RFC3339)})
	require.NoError(t, err)
	encoded := base64.StdEncoding.EncodeToString
	for name, tt := range map[string]struct {
		user, script string
		files        map[string]string
		has          []string
		expires      time.Time
	}{
		"plugin with a token": {
			pluginUser, `[ "$1$TENANT" = get-tokent1 ] && case $KUBERNETES_EXEC_INFO in *'"server":"https://aks.example:443"'*) echo '` + credential(`{"token":"opaque","expirationTimestamp":"`+soon.Format(time.RFC3339)+`"}`) + `';; esac`,
			nil, []string{"token: opaque"}, soon,
		},
		"plugin with a token that says more": {pluginUser, "echo '" + credential(`{"token":"`+jwt(soon)+`"}`) + "'", nil, []string{"token: " + jwt(soon)}, soon},
		"older plugin": {
			strings.ReplaceAll(pluginUser, "/v1,", "/v1beta1,"), "echo '" + strings.ReplaceAll(credential(`{"token":"opaque"}`), "/v1", "/v1beta1") + "'",
			nil, []string{"token: opaque"}, time.Time{},
		},
		"plugin with a certificate": {pluginUser, "cat <<'END'\n" + credential(string(pair)) + "\nEND", nil, []string{"client-key-data: " + encoded([]byte(key))}, soon},
		"files": {
			"{client-certificate: cert.pem, client-key: key.pem}", "", map[string]string{"cert.pem": certificate, "key.pem": key},
			[]string{"client-certificate-data: " + encoded([]byte(certificate)), "client-key-data: " + encoded([]byte(key))}, later,
		},
		"token file": {"{tokenFile: token, as: someone}", "", map[string]string{"token": jwt(soon) + "\n"}, []string{"token: " + jwt(soon), "as: someone"}, soon},
		"token":      {"{token: plain}", "", nil, []string{"token: plain"}, time.Time{}},
		"password":   {"{username: ada, password: hush}", "", nil, []string{"username: ada", "password: hush"}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := kubeconfigDir(t, tt.user, tt.script, tt.files)
			code, stdout, stderr := run(t, dir, "kubeconfig", "--kubeconfig", "source")
			require.Zero(t, code, stderr)
			for _, line := range append(tt.has, "server: https://aks.example:443", "tls-server-name: api.example", "namespace: vote",
				"certificate-authority-data: "+encoded([]byte("a certificate")), "current-context: aks") {
				assert.Contains(t, string(stdout), line)
			}
			for _, gone := range []string{"exec:", "plugin", "tokenFile", "client-key:", "other"} {
				assert.NotContains(t, string(stdout), gone)
			}
			if tt.expires.IsZero() {
				assert.Contains(t, stderr, "do not say when they expire")
			} else {
				assert.Contains(t, stderr, "valid until "+tt.expires.Format("2006-01-02 15:04 MST"))
			}
		})
	}
}

func TestKubeconfigIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := kubeconfigDir(t, pluginUser, "echo '"+credential(`{"token":"opaque"}`)+"'", map[string]string{"old": "old"})
	require.NoError(t, os.Chmod(filepath.Join(dir, "old"), 0o644))
	code, stdout, stderr := run(t, dir, "kubeconfig", "--kubeconfig", "source", "--output-file", "old", "--output", "json")
	require.Zero(t, code, stderr)
	assert.Equal(t, map[string]any{"context": "aks", "server": "https://aks.example:443", "file": "old", "exitCode": 0.0}, document(t, stdout))
	info, err := os.Stat("old")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	written, err := os.ReadFile("old")
	require.NoError(t, err)
	assert.Contains(t, string(written), "token: opaque")

	require.NoError(t, os.WriteFile("plugin", []byte("#!/bin/sh\nexit 3\n"), 0o700))
	code, _, stderr = run(t, dir, "kubeconfig", "--kubeconfig", "source", "--output-file", "old")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "plugin failed with exit code 3")
	again, err := os.ReadFile("old")
	require.NoError(t, err)
	assert.Equal(t, written, again)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	assert.Len(t, entries, 4, "nothing else is left")
}

func TestKubeconfigRefuses(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	certificate, _ := clientCertificate(t, past)
	_, otherKey := clientCertificate(t, past)
	for name, tt := range map[string]struct {
		user, script string
		args         []string
		want         string
	}{
		"the source as the target": {"{token: a}", "", []string{"--output-file", "source"}, "is a kubeconfig that the new one is made from"},
		"a directory":              {"{token: a}", "", []string{"--output-file", "."}, "--output-file . is there, and is no file"},
		"a device":                 {"{token: a}", "", []string{"--output-file", "/dev/null"}, "is no file"},
		"JSON on stdout":           {"{token: a}", "", []string{"--output", "json"}, "name a file for it with --output-file"},
		"an auth-provider":         {"{auth-provider: {name: oidc}}", "", nil, "the context aks cannot be made static: its user has the auth-provider oidc, which renews its tokens on this machine"},
		"a missing plugin":         {`{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-kubelogin, interactiveMode: Never}}`, "", nil, "no-such-kubelogin is not installed: put it on PATH"},
		"a plugin that asks":       {`{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Always}}`, "", nil, "needs a terminal, and there is none"},
		"a plugin's noise":         {pluginUser, "echo hello", nil, "printed something that is no credential"},
		"a plugin's old version":   {pluginUser, "echo '" + strings.ReplaceAll(credential(`{"token":"a"}`), "/v1", "/v1beta1") + "'", nil, "answers in version client.authentication.k8s.io/v1beta1"},
		"a plugin's empty answer":  {pluginUser, "echo '" + credential("{}") + "'", nil, "gave neither a token nor a certificate"},
		"an expired token":         {"{token: " + jwt(past) + "}", "", nil, "its credentials expired on " + past.UTC().Format("2006-01-02")},
		"a key of another":         {fmt.Sprintf("{client-certificate-data: %s, client-key-data: %s}", base64.StdEncoding.EncodeToString([]byte(certificate)), base64.StdEncoding.EncodeToString([]byte(otherKey))), "", nil, "its client certificate and key: "},
		"no such context":          {"{token: a}", "", []string{"--context", "prod"}, `has no context "prod"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := kubeconfigDir(t, tt.user, tt.script, nil)
			before, err := os.ReadFile(filepath.Join(dir, "source"))
			require.NoError(t, err)
			code, stdout, stderr := run(t, dir, append([]string{"kubeconfig", "--kubeconfig", "source"}, tt.args...)...)
			assert.Equal(t, 2, code)
			assert.Contains(t, stderr, tt.want)
			assert.NotContains(t, string(stdout), "apiVersion")
			after, err := os.ReadFile(filepath.Join(dir, "source"))
			require.NoError(t, err)
			assert.Equal(t, before, after)
		})
	}
}

func TestKubeconfigIsMaskedInCI(t *testing.T) {
	for variable, want := range map[string]string{"GITHUB_ACTIONS": "::add-mask::100%25\n", "TF_BUILD": "##vso[task.setsecret]100%AZP25\n"} {
		dir := kubeconfigDir(t, `{token: "100%"}`, "", nil)
		t.Chdir(dir)
		t.Setenv("GITHUB_ACTIONS", "")
		t.Setenv(variable, map[string]string{"GITHUB_ACTIONS": "true", "TF_BUILD": "True"}[variable])
		log, err := os.Create("stderr")
		require.NoError(t, err)
		g := &globals{version: "test", stdout: &strings.Builder{}, stderr: log}
		require.Zero(t, g.execute(t.Context(), []string{"kubeconfig", "--kubeconfig", "source"}))
		said, err := os.ReadFile("stderr")
		require.NoError(t, err)
		assert.Contains(t, string(said), want)
		assert.Equal(t, 1, strings.Count(string(said), "100%"), "nothing else names the token")
		log.Close()
	}
}
