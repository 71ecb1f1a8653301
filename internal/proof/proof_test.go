package proof

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/testing/sigstoretest"
)

// served is a registry with one image, whose answers a test can change.
type served struct {
	repo   *image.Repository
	digest string
	other  string // the digest of another image there
	change func(http.Handler) http.Handler
}

func serve(t *testing.T, api bool) *served {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := &served{change: func(h http.Handler) http.Handler { return h }}
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(api))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { s.change(h).ServeHTTP(w, req) }))
	t.Cleanup(server.Close)
	repository := server.Listener.Addr().String() + "/team/vote"
	for _, digest := range []*string{&s.digest, &s.other} {
		img, err := random.Image(1<<10, 1)
		require.NoError(t, err)
		hash, err := img.Digest()
		require.NoError(t, err)
		*digest = hash.String()
		ref, err := name.NewDigest(repository + "@" + hash.String())
		require.NoError(t, err)
		require.NoError(t, remote.Write(ref, img))
	}
	var err error
	s.repo, err = image.Registry{}.Open(t.Context(), repository, image.ReadWrite)
	require.NoError(t, err)
	return s
}

func (s *served) attach(t *testing.T, signer Signer, predicates ...Predicate) []image.Referrer {
	t.Helper()
	added, err := Attach(t.Context(), s.repo, s.digest, signer, predicates...)
	require.NoError(t, err)
	return added
}

func (s *served) list(t *testing.T) *Found {
	t.Helper()
	found, err := List(t.Context(), s.repo, s.digest)
	require.NoError(t, err)
	return found
}

// newKey makes a key as `cosign generate-key-pair` does, and reads it again.
func newKey(t *testing.T) (Signer, Trusted) {
	t.Helper()
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	_, err = ReadKey(private, []byte("wrong"))
	require.Error(t, err)
	key, err := ReadKey(private, []byte("secret"))
	require.NoError(t, err)
	trusted, err := ReadPublicKey(public)
	require.NoError(t, err)
	return WithKey("ci.key", key), Trusted{Key: trusted, KeyName: "ci.pub"}
}

var (
	passed = TestResult{Result: Passed, Configuration: Definition("abc"), PassedTests: []string{"a", "b"}, Time: time.Now().Add(-time.Hour)}
	here   = Record{Environment: "staging", Status: StatusProved, Time: time.Now().Add(-time.Hour), How: "deploy"}
)

func TestAttachAndList(t *testing.T) {
	for _, api := range []bool{true, false} {
		s := serve(t, api)
		signer, trusted := newKey(t)
		s.attach(t, signer, passed, SPDX(`{"packages":[{"name":"a"},{"primaryPackagePurpose":"CONTAINER"}]}`), here)
		s.attach(t, nil, SLSA{BuildDefinition: BuildDefinition{ResolvedDependencies: []Resource{{Digest: map[string]string{"gitCommit": "123"}}}}})
		found := s.list(t)
		require.NoError(t, found.Err())
		require.Len(t, found.Proofs, 4)

		tests, err := found.Tests()
		require.NoError(t, err)
		require.Len(t, tests, 1)
		require.Equal(t, "abc", tests[0].Definition())
		require.Equal(t, passed.PassedTests, tests[0].PassedTests)
		provenance, err := found.Provenance()
		require.NoError(t, err)
		require.Equal(t, "123", provenance[0].Commit())
		boms, _, err := all[SPDX](found, SBOM)
		require.NoError(t, err)
		n, err := boms[0].Packages()
		require.NoError(t, err)
		require.Equal(t, 1, n)

		rules := Rules{Trust{Signers: []Trusted{trusted}}, []Kind{Test, SBOM, Proved("staging")}}
		require.NoError(t, rules.Judge(found).Err())
		rules.Require = append(rules.Require, Provenance)
		require.ErrorContains(t, rules.Judge(found).Err(), "provenance: there is no such proof that counts (sha256:")
		require.ErrorContains(t, rules.Judge(found).Err(), "it is not signed")
	}
}

// The newest record that counts decides.
func TestWithdrawn(t *testing.T) {
	s := serve(t, false)
	signer, trusted := newKey(t)
	rules := Rules{Trust{Signers: []Trusted{trusted}}, []Kind{Proved("staging")}}
	s.attach(t, signer, here)
	withdrawn := here
	withdrawn.Status, withdrawn.Time, withdrawn.Reason = StatusWithdrawn, here.Time.Add(time.Minute), "rolled back"
	s.attach(t, nil, withdrawn)
	require.NoError(t, rules.Judge(s.list(t)).Err(), "a record that nobody trusted signed withdraws nothing")
	s.attach(t, signer, withdrawn)
	require.ErrorContains(t, rules.Judge(s.list(t)).Err(), "proved:staging: it was withdrawn")
	failed := passed
	failed.Result, failed.Time = Failed, time.Now()
	s.attach(t, signer, passed, failed)
	rules.Require = []Kind{Test}
	require.ErrorContains(t, rules.Judge(s.list(t)).Err(), "test: the newest result is FAILED")
}

func TestTampering(t *testing.T) {
	signer, trusted := newKey(t)
	foreign, other := newKey(t)
	other.KeyName = "other.pub"
	other.For = []Kind{SBOM}
	rules := Rules{Trust{Signers: []Trusted{trusted, other}}, []Kind{Test}}
	refused := func(t *testing.T, s *served, message string) {
		t.Helper()
		require.ErrorContains(t, rules.Judge(s.list(t)).Err(), message)
	}
	t.Run("planted without a signature", func(t *testing.T) {
		s := serve(t, false)
		s.attach(t, nil, passed)
		refused(t, s, "it is not signed")
	})
	t.Run("planted with a key that counts for something else", func(t *testing.T) {
		s := serve(t, false)
		s.attach(t, foreign, passed)
		refused(t, s, "it is signed with other.pub, which does not count for test")
	})
	t.Run("planted with a key that nobody knows", func(t *testing.T) {
		s := serve(t, false)
		stranger, _ := newKey(t)
		s.attach(t, stranger, passed)
		refused(t, s, "its signature is not one of ci.pub")
	})
	t.Run("of another image", func(t *testing.T) {
		s := serve(t, false)
		raw, err := stateAbout(s.repo.Name(), s.other, passed)
		require.NoError(t, err)
		signed, err := signer.Sign(t.Context(), raw)
		require.NoError(t, err)
		_, err = s.repo.Attach(t.Context(), s.digest, image.Artifact{Type: bundleType, Content: signed})
		require.NoError(t, err)
		refused(t, s, "a statement about another image (sha256:"+strings.TrimPrefix(s.other, "sha256:"))
	})
	t.Run("a statement that is changed below its signature", func(t *testing.T) {
		s := serve(t, false)
		failed := passed
		failed.Result = Failed
		raw, err := stateAbout(s.repo.Name(), s.digest, failed)
		require.NoError(t, err)
		signed, err := signer.Sign(t.Context(), raw)
		require.NoError(t, err)
		var envelope map[string]any
		require.NoError(t, json.Unmarshal(signed, &envelope))
		content := envelope["dsseEnvelope"].(map[string]any)
		content["payload"] = bytes.ReplaceAll(raw, []byte("FAILED"), []byte(Passed))
		signed, err = json.Marshal(envelope)
		require.NoError(t, err)
		_, err = s.repo.Attach(t.Context(), s.digest, image.Artifact{Type: bundleType, Content: signed})
		require.NoError(t, err)
		refused(t, s, "its signature is not one of ci.pub")
	})
	t.Run("a changed byte", func(t *testing.T) {
		s := serve(t, false)
		s.attach(t, signer, passed)
		s.change = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if !strings.Contains(req.URL.Path, "/blobs/") {
					next.ServeHTTP(w, req)
					return
				}
				recorded := httptest.NewRecorder()
				next.ServeHTTP(recorded, req)
				_, _ = w.Write(bytes.Replace(recorded.Body.Bytes(), []byte("bundle"), []byte("bundlf"), 1))
			})
		}
		refused(t, s, "something attached to the image cannot be read")
	})
	t.Run("a registry that forgot it", func(t *testing.T) {
		s := serve(t, false)
		added := s.attach(t, signer, passed)
		s.change = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if strings.HasSuffix(req.URL.Path, added[0].Digest) {
					http.NotFound(w, req)
					return
				}
				next.ServeHTTP(w, req)
			})
		}
		refused(t, s, added[0].Digest)
	})
	t.Run("a registry that hides it", func(t *testing.T) {
		s := serve(t, false)
		s.attach(t, signer, passed)
		s.change = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if strings.Contains(req.URL.Path, "/manifests/sha256-") {
					http.NotFound(w, req)
					return
				}
				next.ServeHTTP(w, req)
			})
		}
		refused(t, s, "test: there is no such proof that counts")
	})
}

const (
	workflow = "https://github.com/team/vote/.github/workflows/deliver.yml@refs/heads/main"
	issuer   = "https://token.actions.githubusercontent.com"
)

func TestIdentities(t *testing.T) {
	here, elsewhere := sigstoretest.New(t), sigstoretest.New(t)
	root, err := ReadRoot(here.Root(t))
	require.NoError(t, err)
	run := sigstoretest.Identity{Subject: workflow, Issuer: issuer, Ref: "refs/heads/main"}
	other, late := run, run
	by := func(s *sigstoretest.Sigstore, as sigstoretest.Identity) Signer {
		return Keyless{Services: s.Services(t), Token: func(context.Context) (string, error) { return s.Token(as), nil }}.Signer()
	}
	other.Subject = "https://github.com/other/vote/.github/workflows/deliver.yml@refs/heads/main"
	late.Late = 24 * time.Hour
	for _, tt := range []struct {
		name    string
		by      Signer
		trusted Trusted
		message string
	}{
		{"right", by(here, run), Trusted{Identity: "https://github.com/team/vote/.github/workflows/deliver.yml@refs/heads/*", Issuer: issuer}, ""},
		{"right git ref", by(here, run), Trusted{Identity: workflow, Issuer: issuer, Refs: []string{"refs/heads/*"}}, ""},
		{"wrong identity", by(here, other), Trusted{Identity: workflow, Issuer: issuer}, "it is signed by https://github.com/other/vote"},
		{"wrong issuer", by(here, run), Trusted{Identity: workflow, Issuer: "https://gitlab.com"}, "and not by"},
		{"wrong git ref", by(here, run), Trusted{Identity: workflow, Issuer: issuer, Refs: []string{"refs/heads/release/*"}}, `for the git ref "refs/heads/main"`},
		{"expired certificate", by(here, late), Trusted{Identity: workflow, Issuer: issuer}, "its signature does not hold"},
		{"another authority", by(elsewhere, run), Trusted{Identity: workflow, Issuer: issuer}, "its signature does not hold"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, false)
			s.attach(t, tt.by, passed)
			rules := Rules{Trust{[]Trusted{tt.trusted}, root}, []Kind{Test}}
			verdict := rules.Judge(s.list(t))
			if tt.message == "" {
				require.NoError(t, verdict.Err())
				require.Equal(t, workflow+" (issuer "+issuer+")", verdict.Proofs[0].By)
				return
			}
			require.ErrorContains(t, verdict.Err(), tt.message)
		})
	}
}

// The git ref of a certificate is compared with patterns.
func TestRefs(t *testing.T) {
	trust := Trust{Signers: []Trusted{{Identity: "https://github.com/team/**", Issuer: issuer, Refs: []string{"refs/heads/release/*", "refs/tags/v*"}}}}
	for ref, counts := range map[string]bool{
		"refs/heads/release/1.2": true, "refs/tags/v1.2.0": true, "refs/heads/main": false, "refs/pull/1/merge": false, "": false,
	} {
		_, err := trust.match(Test, &certificate.Summary{
			SubjectAlternativeName: workflow, Extensions: certificate.Extensions{Issuer: issuer, SourceRepositoryRef: ref},
		})
		require.Equal(t, counts, err == nil, ref)
	}
}
