package image

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/aksflow/aksflow/internal/core/fault"
)

const (
	user     = "ci"
	password = "c0rrect horse battery staple"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	os.Exit(m.Run())
}

// distribution serves the registry that most of the world runs, with the authentication that is asked for.
func distribution(t testing.TB, auth configuration.Auth) string {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": nil}, Auth: auth}
	config.HTTP.Secret = "for uploads only"
	config.Log.Level = "panic"
	config.Log.AccessLog.Disabled = true
	app := handlers.NewApp(context.Background(), config)
	s := httptest.NewServer(app)
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, app.Shutdown())
	})
	return s.Listener.Addr().String()
}

// withPasswords wants user and password of every request.
func withPasswords(t testing.TB) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600))
	return distribution(t, configuration.Auth{"htpasswd": {"realm": "test", "path": file}})
}

// withTokens wants tokens of a server that gives them to user and password, as Azure's registries do. It returns the
// registry's host and how many tokens were given out.
func withTokens(t testing.TB) (host string, given *atomic.Int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	private := jose.JSONWebKey{Key: key, KeyID: "test", Algorithm: string(jose.ES256), Use: "sig"}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{private.Public()}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(file, jwks, 0o600))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithType("JWT"))
	require.NoError(t, err)

	given = &atomic.Int64{}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if u, p, _ := req.BasicAuth(); u != user || p != password {
			// The answer repeats what it was sent, as some servers do.
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"%s:%s is wrong"}]}`, u, p)
			return
		}
		var access []map[string]any
		for _, scope := range req.URL.Query()["scope"] {
			part := strings.Split(scope, ":")
			access = append(access, map[string]any{"type": part[0], "name": part[1], "actions": strings.Split(part[2], ",")})
		}
		token, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": "test", "sub": user, "aud": "registry", "access": access,
			"nbf": time.Now().Add(-time.Minute).Unix(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}).Serialize()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		given.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
	}))
	t.Cleanup(tokens.Close)
	return distribution(t, configuration.Auth{"token": {
		"realm": strings.Replace(tokens.URL, "127.0.0.1", "localhost", 1), "service": "registry", "issuer": "test", "jwks": file, "signingalgorithms": []any{"ES256"},
	}}), given
}

func TestPushWithPassword(t *testing.T) {
	noConfig(t)
	host := withPasswords(t)
	o := Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 1<<20, 3)), Repository: host + "/vote", Tags: []string{"a"},
		Registry: Registry{Username: user, Password: password, firstPause: time.Millisecond},
	}
	got, err := Push(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 4, got.Uploaded)

	again, err := Push(t.Context(), o)
	require.NoError(t, err)
	require.True(t, again.Unchanged)

	digest, err := resolve(t.Context(), host+"/vote:a", o.Registry)
	require.NoError(t, err)
	require.Equal(t, got.Digest, digest)
}

func TestPushIndexToDistribution(t *testing.T) {
	noConfig(t)
	host := withPasswords(t)
	_, err := Push(t.Context(), Options{
		Tarball: tarball(t, newIndex(t)), Repository: host + "/vote", Tags: []string{"all"},
		Registry: Registry{Username: user, Password: password},
	})
	require.NoError(t, err)
}

func TestPushWithToken(t *testing.T) {
	noConfig(t)
	host, given := withTokens(t)
	_, err := Push(t.Context(), Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 1<<20, 3)), Repository: host + "/team/vote", Tags: []string{"a"},
		Registry: Registry{Username: user, Password: password},
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, given.Load(), "one token for the look-ups and the uploads")
}

func TestPushRefused(t *testing.T) {
	noConfig(t)
	tokenHost, _ := withTokens(t)
	img := tarball(t, newImage(t, emptyImage(), 10, 1))
	for name, host := range map[string]string{"password": withPasswords(t), "token": tokenHost} {
		t.Run(name+", wrong", func(t *testing.T) {
			_, err := Push(t.Context(), Options{
				Tarball: img, Repository: host + "/vote", Tags: []string{"a"},
				Registry: Registry{Username: user, Password: "wr0ng-one"},
			})
			require.ErrorContains(t, err, `credentials used: the given user name "ci" and its password`)
			require.ErrorContains(t, err, "log in to "+host)
			require.NotContains(t, err.Error(), "wr0ng-one")
			require.Equal(t, fault.ExitNo, fault.ExitCode(err))
		})
		t.Run(name+", none", func(t *testing.T) {
			_, err := Push(t.Context(), Options{Tarball: img, Repository: host + "/vote", Tags: []string{"a"}})
			require.ErrorContains(t, err, "credentials used: none: Docker's configuration")
			require.ErrorContains(t, err, "has no entry for "+host)
		})
		t.Run(name+", resolve", func(t *testing.T) {
			_, err := resolve(t.Context(), host+"/vote:a", Registry{Username: user, Password: "wr0ng-one"})
			require.ErrorContains(t, err, "credentials used: the given user name")
			require.NotContains(t, err.Error(), "wr0ng-one")
		})
	}
}

func TestPushWithDockerConfig(t *testing.T) {
	host := withPasswords(t)
	img := tarball(t, newImage(t, emptyImage(), 10, 1))

	write := func(t *testing.T, config string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(noConfig(t), "config.json"), []byte(config), 0o600))
	}
	t.Run("entry", func(t *testing.T) {
		write(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password))))
		_, err := Push(t.Context(), Options{Tarball: img, Repository: host + "/vote"})
		require.NoError(t, err)
	})
	t.Run("wrong entry", func(t *testing.T) {
		write(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":wr0ng-one"))))
		_, err := Push(t.Context(), Options{Tarball: img, Repository: host + "/vote"})
		require.ErrorContains(t, err, "credentials used: those for "+host+" in Docker's configuration")
		require.NotContains(t, err.Error(), "wr0ng-one")
	})
	t.Run("credential helper", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("the helper is a shell script")
		}
		bin := t.TempDir()
		answer := fmt.Sprintf(`{"ServerURL":%q,"Username":%q,"Secret":%q}`, host, user, password)
		require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte("#!/bin/sh\ncat <<'END'\n"+answer+"\nEND\n"), 0o700))
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		write(t, fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host))
		_, err := Push(t.Context(), Options{Tarball: img, Repository: host + "/other"})
		require.NoError(t, err)
	})
	t.Run("missing credential helper", func(t *testing.T) {
		write(t, fmt.Sprintf(`{"credHelpers":{%q:"gone"}}`, host))
		_, err := Push(t.Context(), Options{Tarball: img, Repository: host + "/vote"})
		require.ErrorContains(t, err, "find credentials for registry "+host)
		require.ErrorContains(t, err, "docker-credential-gone")
	})
}
