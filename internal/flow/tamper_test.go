package flow

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/proof"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
	"github.com/aksflow/aksflow/internal/testing/sigstoretest"
)

// guarded is a repository with staging and production, which sign their proofs and verify them, on the registry that most of the
// world runs.
type guarded struct {
	*repository
	*places
	engine *fakeEngine
	host   string // HOST/PATH of its own
	// between stands between the registry and those who read it; nil changes nothing.
	between  atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
	sigstore *sigstoretest.Sigstore
}

const (
	release = "refs/heads/release/1.2.0"
	issuer  = "https://issuer.example"
)

// newGuarded makes one in a registry. tester is the entry of verify.signers for those whose test results count in production.
func newGuarded(t *testing.T, registry, tester string) *guarded {
	t.Helper()
	g := &guarded{repository: newRepository(t), engine: &fakeEngine{t: t}, sigstore: sigstoretest.New(t)}
	g.places = newPlaces()
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if between := g.between.Load(); between != nil {
			(*between)(w, req, through)
			return
		}
		through.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	g.host = fmt.Sprintf("%s/%x", server.Listener.Addr(), sha256.Sum256([]byte(t.Name())))
	for _, who := range []string{"staging", "production", "stranger"} {
		private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), cryptoutils.SkipPassword)
		require.NoError(t, err)
		g.write("keys/"+who+".key", string(private))
		g.write("keys/"+who+".pub", string(public))
	}
	g.write("keys/root.json", string(g.sigstore.Root(t)))
	g.write("aksflow.yaml", fmt.Sprintf(`app: vote
build: {context: app, target: runtime}
test: {unit: {target: test}}
environments:
  staging:
    branches: ["release/*"]
    registry: %[1]s/staging
    manifests: m
    sign: {key: keys/staging.key}
    verify: {require: [test, provenance], signers: [{key: keys/staging.pub}]}
  production:
    branches: [main]
    from: staging
    registry: %[1]s/production
    manifests: m
    sign: {key: keys/production.key}
    verify:
      require: [test, provenance, "proved:staging"]
      root: keys/root.json
      signers:
      - {key: keys/staging.pub, for: [provenance, "proved:staging"]}
      - %[2]s
`, g.host, tester))
	g.write("app/Dockerfile", fmt.Sprintf("FROM %[1]s/base:1 AS test\nCOPY tests tests\nCOPY src src\nFROM %[1]s/base:1 AS runtime\nCOPY src src\n", g.host))
	g.write("app/src/main", "1")
	g.write("app/tests/test", "1")
	g.commit()
	g.push("base:1")
	return g
}

// byKey is the signer whose test results count where staging tests.
const byKey = `{key: keys/staging.pub, for: [test]}`

// push pushes an image of its own.
func (g *guarded) push(to string) (digest string) {
	g.t.Helper()
	img, err := random.Image(100, 1)
	require.NoError(g.t, err)
	hash, err := img.Digest()
	require.NoError(g.t, err)
	reference, err := name.ParseReference(g.host + "/" + to)
	require.NoError(g.t, err)
	require.NoError(g.t, remote.Write(reference, img))
	return hash.String()
}

// on opens a delivery on a new runner.
func (g *guarded) on(change func(*Request)) *Delivery {
	g.t.Helper()
	clone := filepath.Join(g.t.TempDir(), "clone")
	require.NoError(g.t, os.CopyFS(clone, os.DirFS(g.dir)))
	r := Request{
		Config: filepath.Join(clone, "aksflow.yaml"), User: "ann@laptop", Keys: g.t.TempDir(),
		Variables: func(string) (string, bool) { return "", false },
	}
	change(&r)
	d, err := open(g.t.Context(), r, []namedTarget{{"push", g.places}})
	require.NoError(g.t, err)
	d.engine = g.engine
	g.t.Cleanup(func() { assert.NoError(g.t, d.Close()) })
	return d
}

// deliver delivers a git ref.
func (g *guarded) deliver(gitRef string) (r *Result, told string, err error) {
	g.t.Helper()
	recorder := report.NewRecorder(report.SinkFunc(func(report.Event) {}))
	d := g.on(func(r *Request) { r.ByRef, r.Ref = true, gitRef })
	r, err = d.Deliver(report.With(g.t.Context(), recorder))
	for _, e := range recorder.Events() {
		told += e.Message + "\n"
	}
	return r, told, err
}

// staged delivers to staging, which must end well, and returns the digest.
func (g *guarded) staged() string {
	g.t.Helper()
	r, _, err := g.deliver(release)
	require.NoError(g.t, err)
	require.Equal(g.t, delivery.Done, statuses(r)["prove"])
	return ref.Read(r.Image).Digest
}

// staging opens the repository of staging for writing, as everybody can who may push.
func (g *guarded) staging() *image.Repository {
	g.t.Helper()
	repository, err := image.Registry{}.Open(g.t.Context(), g.host+"/staging/vote", image.ReadWrite)
	require.NoError(g.t, err)
	return repository
}

// attach attaches proofs to an image in staging's repository. who names a key; "" does not sign.
func (g *guarded) attach(digest, who string, predicates ...proof.Predicate) []image.Referrer {
	g.t.Helper()
	var signer proof.Signer
	if who != "" {
		text, err := os.ReadFile(filepath.Join(g.dir, "keys", who+".key"))
		require.NoError(g.t, err)
		key, err := proof.ReadKey(text, nil)
		require.NoError(g.t, err)
		signer = proof.WithKey(who, key)
	}
	added, err := proof.Attach(g.t.Context(), g.staging(), digest, signer, predicates...)
	require.NoError(g.t, err)
	return added
}

// keys are those of what is checked out, in staging.
func (g *guarded) keys() *known {
	g.t.Helper()
	d := g.on(func(r *Request) { r.Env = "staging" })
	source, err := d.source(g.t.Context())
	require.NoError(g.t, err)
	k, err := d.keys(g.t.Context(), source)
	require.NoError(g.t, err)
	return k
}

// planted pushes another image as the one of what is checked out, with proofs that say that it is, and that it passed.
func (g *guarded) planted(who string) string {
	g.t.Helper()
	k := g.keys()
	digest := g.push("staging/vote:" + keyTag + k.image.Build)
	built := proof.SLSA{BuildDefinition: proof.BuildDefinition{InternalParameters: proof.BuildKeys{BuildKey: k.image.Build, SourceKey: k.image.Source}}}
	g.attach(digest, who, built, g.passed(k))
	return digest
}

func (g *guarded) passed(k *known) proof.TestResult {
	return proof.TestResult{Result: proof.Passed, Configuration: proof.Definition(k.tests.Build), PassedTests: []string{"unit: planted"}, Time: time.Now()}
}

// isRefused checks that production refuses what staging runs, and stays as it is.
func (g *guarded) isRefused(says ...string) {
	g.t.Helper()
	before := g.running["production"].Image
	for _, deliver := range []func() (*Result, error){
		func() (*Result, error) { r, _, err := g.deliver("refs/heads/main"); return r, err },
		func() (*Result, error) {
			return g.on(func(r *Request) { r.Env = "production" }).Promote(g.t.Context())
		},
	} {
		r, err := deliver()
		require.Error(g.t, err)
		for _, text := range says {
			require.ErrorContains(g.t, err, text)
		}
		assert.Equal(g.t, delivery.Skipped, statuses(r)["deploy"])
		assert.Equal(g.t, before, g.running["production"].Image, "nothing is deployed")
	}
}

// What was built, tested and proved once is taken by new runners, with everything verified.
func TestVerifiedChain(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	g := newGuarded(t, registrytest.Distribution(t), byKey)
	digest := g.staged()
	again, told, err := g.deliver(release)
	require.NoError(t, err)
	assert.Equal(t, map[string]delivery.Status{"build": "unchanged", "test": "unchanged", "publish": "unchanged", "deploy": "done", "prove": "unchanged"}, statuses(again))
	assert.Contains(t, told, "verified for staging: test, provenance")
	assert.NotContains(t, told, "unverified")

	promoted, told, err := g.deliver("refs/heads/main")
	require.NoError(t, err)
	assert.Equal(t, map[string]delivery.Status{"promote": "done", "deploy": "done", "prove": "done"}, statuses(promoted))
	assert.Equal(t, digest, ref.Read(promoted.Image).Digest)
	assert.Equal(t, digest, ref.Read(g.running["production"].Image).Digest)
	assert.NotContains(t, told, "unverified")
	assert.EqualValues(t, 1, g.engine.built.Load())
	assert.EqualValues(t, 1, g.engine.tested.Load())

	verified, err := g.on(func(r *Request) { r.Env, r.Image = "production", promoted.Image }).Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, verified.Verified)
	counts := map[string]string{}
	for _, p := range verified.Proofs {
		counts[p.Kind] = p.By
	}
	assert.Equal(t, map[string]string{
		"provenance": "keys/staging.pub", "test": "keys/staging.pub", "proved:staging": "keys/staging.pub",
		"sbom": "", "proved:production": "", // nothing counts there that nobody is named for
	}, counts)
}

// Each attempt is refused by its name, and nothing is deployed.
func TestTampering(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	cases := map[string]func(*guarded){
		"a planted key with a planted result": func(g *guarded) { g.refusesPlanted("") },
		"planted with a stranger's key":       func(g *guarded) { g.refusesPlanted("stranger") },
		"a planted result of new tests": func(g *guarded) {
			digest := g.staged()
			g.write("app/tests/test", "2")
			g.commit()
			g.attach(digest, "stranger", g.passed(g.keys()))
			r, _, err := g.deliver(release)
			require.NoError(g.t, err)
			assert.Equal(g.t, delivery.Done, statuses(r)["test"], "the tests run")
			assert.EqualValues(g.t, 2, g.engine.tested.Load())
		},
		"the key's tag moved": func(g *guarded) {
			first := g.staged()
			g.planted("stranger")
			_, _, err := g.deliver(release)
			require.ErrorContains(g.t, err, "there is no provenance that says so by anyone whom environments.staging.verify trusts")
			assert.Equal(g.t, first, ref.Read(g.running["staging"].Image).Digest)
		},
		"proofs of another image": func(g *guarded) {
			good := g.staged()
			other := g.push("staging/vote:other")
			g.copyReferrers(good, other)
			g.running["staging"] = target.Running{Image: g.host + "/staging/vote@" + other}
			g.isRefused("a statement about another image (" + good + ")")
		},
		"proved by a stranger": func(g *guarded) {
			digest := g.staged()
			g.withdraw(digest, "staging")
			g.attach(digest, "stranger", proof.Record{Environment: "staging", Status: proof.StatusProved, Time: time.Now().Add(time.Hour), SourceKey: g.keys().image.Source})
			g.isRefused("proved:staging: it was withdrawn at ")
		},
		"a changed byte": func(g *guarded) {
			g.staged()
			g.interpose(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") {
					next.ServeHTTP(w, req)
					return
				}
				recorded := httptest.NewRecorder()
				next.ServeHTTP(recorded, req)
				_, _ = w.Write(bytes.Replace(recorded.Body.Bytes(), []byte("bundle"), []byte("bundlf"), 1))
			})
			g.isRefused("cannot be read")
		},
		"a registry that forgot a proof": func(g *guarded) {
			digest := g.staged()
			forgotten := g.attach(digest, "staging", g.passed(g.keys()))[0].Digest
			g.interpose(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if strings.HasSuffix(req.URL.Path, "/manifests/"+forgotten) {
					http.NotFound(w, req)
					return
				}
				next.ServeHTTP(w, req)
			})
			g.isRefused(forgotten, "cannot be read")
		},
		"a registry that hides all proofs": func(g *guarded) {
			digest := g.staged()
			g.interpose(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if strings.HasSuffix(req.URL.Path, "/manifests/"+strings.Replace(digest, ":", "-", 1)) {
					http.NotFound(w, req)
					return
				}
				next.ServeHTTP(w, req)
			})
			g.isRefused("test: there is no such proof that counts", "provenance: there is no such proof that counts", "proved:staging: there is no such proof that counts")
		},
		"a registry that hides the tests": func(g *guarded) {
			digest := g.staged()
			g.interpose(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if !strings.HasSuffix(req.URL.Path, "/manifests/"+strings.Replace(digest, ":", "-", 1)) {
					next.ServeHTTP(w, req)
					return
				}
				recorded := httptest.NewRecorder()
				next.ServeHTTP(recorded, req)
				w.Header().Set("Content-Type", recorded.Header().Get("Content-Type"))
				_, _ = w.Write(without(g.t, recorded.Body.Bytes(), proof.TestResultType))
			})
			g.isRefused("test: there is no such proof that counts")
		},
		"a tag that moved": func(g *guarded) {
			digest := g.staged()
			tag := ref.Read(g.running["staging"].Image).Tag
			require.NotEmpty(g.t, tag)
			other := g.push("staging/vote:" + tag)
			before := g.running["staging"].Image
			_, err := g.on(func(r *Request) { r.Env, r.Image = "staging", g.host+"/staging/vote:"+tag+"@"+digest }).Step(g.t.Context(), "deploy")
			require.ErrorContains(g.t, err, "the tag "+tag+" has moved, to "+other)
			assert.Equal(g.t, before, g.running["staging"].Image)
		},
		"a digest that staging rolled back": func(g *guarded) {
			first := g.staged()
			g.write("app/src/main", "2")
			g.commit()
			second := g.staged()
			_, err := g.on(func(r *Request) { r.Env = "staging" }).Rollback(g.t.Context(), "")
			require.NoError(g.t, err)
			require.Equal(g.t, first, ref.Read(g.running["staging"].Image).Digest)
			g.running["staging"] = target.Running{Image: g.host + "/staging/vote@" + second} // behind the records
			g.isRefused("proved:staging: it was withdrawn at ", "rolled back by ann@laptop")
		},
	}
	registry := registrytest.Distribution(t)
	for name, try := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try(newGuarded(t, registry, byKey))
		})
	}
}

// Test results count when a run signed them whose identity, git ref and time are right.
func TestTamperedIdentity(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	registry := registrytest.Distribution(t)
	run := sigstoretest.Identity{Subject: "https://ci.example/team/deliver.yml@refs/heads/release/1.2.0", Issuer: issuer, Ref: release}
	for name, tt := range map[string]struct {
		change  func(*sigstoretest.Identity)
		refused string
	}{
		"right":               {func(*sigstoretest.Identity) {}, ""},
		"a wrong identity":    {func(i *sigstoretest.Identity) { i.Subject = "https://ci.example/other/deliver.yml" }, "it is signed by https://ci.example/other/deliver.yml"},
		"a wrong issuer":      {func(i *sigstoretest.Identity) { i.Issuer = "https://other.example" }, "(issuer https://other.example), and not by"},
		"a wrong git ref":     {func(i *sigstoretest.Identity) { i.Ref = "refs/heads/feature/a" }, `for the git ref "refs/heads/feature/a", and only refs/heads/release/* counts`},
		"expired certificate": {func(i *sigstoretest.Identity) { i.Late = time.Hour / 2 }, "its signature does not hold"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, registry, `{identity: "https://ci.example/team/**", issuer: "`+issuer+`", refs: ["refs/heads/release/*"], for: [test]}`)
			digest := g.staged()
			by := run
			tt.change(&by)
			signer := proof.Keyless{
				Services: g.sigstore.Services(t),
				Token:    func(context.Context) (string, error) { return g.sigstore.Token(by), nil },
			}.Signer()
			_, err := proof.Attach(t.Context(), g.staging(), digest, signer, g.passed(g.keys()))
			require.NoError(t, err)
			if tt.refused != "" {
				g.isRefused("test: there is no such proof that counts", tt.refused)
				return
			}
			r, _, err := g.deliver("refs/heads/main")
			require.NoError(t, err)
			assert.Equal(t, digest, ref.Read(r.Image).Digest)
		})
	}
}

// What signs is looked for before there is anything to sign.
func TestNothingIsBuiltThatCannotBeSigned(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	g := newGuarded(t, registrytest.Distribution(t), byKey)
	require.NoError(t, os.Remove(filepath.Join(g.dir, "keys/staging.key")))
	g.commit()
	_, _, err := g.deliver(release)
	require.ErrorContains(t, err, "environments.staging.sign.key: open ")
	assert.Zero(t, g.engine.built.Load())
	assert.Empty(t, g.running["staging"].Image)
}

// A key that is replaced signs anew what the one before signed: the image and its digest stay.
func TestAnotherKey(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	g := newGuarded(t, registrytest.Distribution(t), byKey)
	g.engine.same = true
	digest := g.staged()
	for _, name := range []string{".key", ".pub"} {
		require.NoError(t, os.Rename(filepath.Join(g.dir, "keys/stranger"+name), filepath.Join(g.dir, "keys/staging"+name)))
	}
	g.commit()
	g.isRefused("(`aksflow deliver --env staging --rebuild --retest` makes its proofs anew)",
		"test: there is no such proof that counts", "provenance: there is no such proof that counts", "proved:staging: there is no such proof that counts")
	r, err := g.on(func(r *Request) { r.Env, r.Rebuild, r.Retest = "staging", true, true }).Deliver(t.Context())
	require.NoError(t, err)
	assert.Equal(t, digest, ref.Read(r.Image).Digest)
	promoted, _, err := g.deliver("refs/heads/main")
	require.NoError(t, err)
	assert.Equal(t, digest, ref.Read(promoted.Image).Digest)
}

func (g *guarded) refusesPlanted(who string) {
	g.t.Helper()
	g.planted(who)
	r, _, err := g.deliver(release)
	require.ErrorContains(g.t, err, "is recorded as the image of this source, and there is no provenance that says so by anyone whom environments.staging.verify trusts")
	assert.Equal(g.t, delivery.Skipped, statuses(r)["deploy"])
	assert.Empty(g.t, g.running["staging"].Image, "nothing is deployed")
	assert.Zero(g.t, g.engine.built.Load())
}

func (g *guarded) interpose(between func(http.ResponseWriter, *http.Request, http.Handler)) {
	g.between.Store(&between)
}

func (g *guarded) withdraw(digest, who string) {
	g.t.Helper()
	g.attach(digest, who, proof.Record{Environment: "staging", Status: proof.StatusWithdrawn, Time: time.Now().Add(time.Minute), Reason: "it was slow"})
}

// copyReferrers attaches what is attached to one image to another one, byte for byte.
func (g *guarded) copyReferrers(from, to string) {
	g.t.Helper()
	ctx, repository := g.t.Context(), g.staging()
	referrers, err := repository.Referrers(ctx, from)
	require.NoError(g.t, err)
	for _, r := range referrers {
		artifact, err := repository.Read(ctx, from, r, r.Type)
		require.NoError(g.t, err)
		_, err = repository.Attach(ctx, to, artifact)
		require.NoError(g.t, err)
	}
}

// without returns a list of referrers without those of a type of predicate.
func without(t *testing.T, index []byte, predicateType string) []byte {
	t.Helper()
	var list map[string]any
	require.NoError(t, json.Unmarshal(index, &list))
	var kept []any
	for _, d := range list["manifests"].([]any) {
		if text, err := json.Marshal(d); err != nil || !bytes.Contains(text, []byte(predicateType)) {
			kept = append(kept, d)
		}
	}
	require.Len(t, kept, len(list["manifests"].([]any))-1)
	list["manifests"] = kept
	text, err := json.Marshal(list)
	require.NoError(t, err)
	return text
}
