package flow

import (
	"bytes"
	"crypto/elliptic"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/flow/signing"
	"github.com/aksflow/aksflow/internal/proof"
	"github.com/aksflow/aksflow/internal/testing/sigstoretest"
)

// keys writes pairs of keys, NAME.key and NAME.pub, beside aksflow.yaml.
func (c *chain) keys(names ...string) {
	c.t.Helper()
	for _, name := range names {
		private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), nil)
		require.NoError(c.t, err)
		c.write(name+".key", string(private))
		c.write(name+".pub", string(public))
	}
	c.commit()
}

// approve approves for production with a key.
func (c *chain) approve(key string, change func(*Request)) (*delivery.Approved, error) {
	c.t.Helper()
	return c.request(func(r *Request) {
		r.Env, r.SignAs.Key = "production", key
		change(r)
	}).Approve(c.t.Context(), "looked at it", false)
}

// attach attaches something to an image in staging's repository, signed with a key unless that is "".
func (c *chain) attach(digest, key string, p proof.Predicate) {
	c.t.Helper()
	c.signed(digest, func(r *Request) { r.SignAs.Key = key }, p)
}

// signed is attach for who signs as production's.
func (c *chain) signed(digest string, as func(*Request), p proof.Predicate) {
	c.t.Helper()
	d := c.request(func(r *Request) { r.Env = "production"; as(r) })
	var signer proof.Signer
	if d.SignAs != (signing.As{}) {
		var err error
		signer, err = d.keyring().SignerAs(c.t.Context(), d.SignAs)
		require.NoError(c.t, err)
	}
	repository, err := c.request(func(r *Request) { r.Env = "staging" }).open(c.t.Context(), image.ReadWrite)
	require.NoError(c.t, err)
	_, err = proof.Attach(c.t.Context(), repository, digest, signer, p)
	require.NoError(c.t, err)
}

const signedApprovals = ", gates: {approve: {signed: {count: 2, by: [{key: ann.pub}, {key: bob.pub}], maxAge: 24h}}}"

func TestASignedApprovalOpensTheGate(t *testing.T) {
	c := newChain(t, signedApprovals)
	c.keys("ann", "bob", "eve")
	digest := c.deployed()
	_, err := c.promote(none)
	require.ErrorContains(t, err, "production is not open for "+digest[:19]+": approve: 0 of 2: ann.pub or bob.pub may approve, with `aksflow approve --env production --image "+c.host+"/staging/vote@"+digest+"`")
	assert.NotContains(t, err.Error(), "\n", "one line")

	_, err = c.approve("eve.key", none)
	require.ErrorContains(t, err, "who may approve for production does not include you: signed with eve.key: its signature is not one of ann.pub, bob.pub")
	_, err = c.approve("", none)
	require.ErrorContains(t, err, "there is nothing to sign with: name a private key with --key")

	approved, err := c.approve("ann.key", none)
	require.NoError(t, err)
	assert.Equal(t, "ann.pub", approved.By)
	assert.Equal(t, c.host+"/staging/vote@"+digest, approved.Image)
	_, err = c.approve("ann.key", none)
	require.NoError(t, err)
	_, err = c.promote(none)
	require.ErrorContains(t, err, "approve: 1 of 2 (ann.pub at ", "one person counts once")

	_, err = c.approve("bob.key", func(r *Request) { r.Image = c.host + "/staging/vote@" + digest })
	require.NoError(t, err)
	result, err := c.promote(none)
	require.NoError(t, err)
	gates := result.Steps[0].Detail.(*delivery.Promoted).Gates
	require.Len(t, gates, 1)
	assert.True(t, gates[0].Open)
	assert.Contains(t, gates[0].Message, "looked at it")

	// It travels with the image, and verify shows whose it is.
	verified, err := c.request(func(r *Request) { r.Env, r.Image = "production", c.host+"/production/vote@"+digest }).Verify(t.Context())
	require.NoError(t, err)
	by := map[string]int{}
	for _, p := range verified.Proofs {
		if p.Kind == "approval:production" {
			by[p.By]++
			assert.Regexp(t, `^approved at .* by ann@laptop: looked at it$`, p.Says)
		}
	}
	assert.Equal(t, map[string]int{"ann.pub": 2, "bob.pub": 1}, by)
}

// A CI run approves with its own identity: of those that are listed it needs no key.
func TestARunApproves(t *testing.T) {
	sigstore := sigstoretest.New(t)
	c := newChain(t, `, sign: {keyless: true, services: services.json}, `+
		`verify: {root: root.json}, `+
		`gates: {approve: {signed: {by: [{identity: "https://ci.example/ops/approve.yml@*", issuer: "https://issuer.example", refs: [refs/heads/main]}]}}}`)
	c.write("services.json", string(sigstore.Services(t)))
	c.write("root.json", string(sigstore.Root(t)))
	c.commit()
	digest := c.deployed()
	run := sigstoretest.Identity{Subject: "https://ci.example/ops/approve.yml@main", Issuer: "https://issuer.example", Ref: "refs/heads/main"}
	as := func(change func(*sigstoretest.Identity)) func(*Request) {
		by := run
		change(&by)
		return func(r *Request) {
			r.SignAs.Keyless = true
			r.Variables = func(name string) (string, bool) {
				if name != "SIGSTORE_ID_TOKEN" {
					return "", false
				}
				return sigstore.Token(by), true
			}
		}
	}
	itself := func(*sigstoretest.Identity) {}
	c.signed(digest, as(itself), proof.TestResult{Result: proof.Passed, Configuration: proof.Definition("abc"), PassedTests: []string{"a"}, Time: time.Now()})
	c.signed(digest, as(itself), proof.Record{Environment: "staging", Status: proof.StatusProved, How: "deploy", Time: time.Now()})

	_, err := c.approve("", func(r *Request) { r.SignAs.Keyless = true })
	require.ErrorContains(t, err, "there is no identity to sign with: on GitHub the job needs `permissions: id-token: write`")
	for message, change := range map[string]func(*sigstoretest.Identity){
		"it is signed by https://ci.example/dev/approve.yml":                      func(i *sigstoretest.Identity) { i.Subject = "https://ci.example/dev/approve.yml@main" },
		"(issuer https://other.example), and not by":                              func(i *sigstoretest.Identity) { i.Issuer = "https://other.example" },
		`for the git ref "refs/heads/feature/a", and only refs/heads/main counts`: func(i *sigstoretest.Identity) { i.Ref = "refs/heads/feature/a" },
		"its signature does not hold":                                             func(i *sigstoretest.Identity) { i.Late = time.Hour / 2 },
	} {
		_, err := c.approve("", as(change))
		require.ErrorContains(t, err, "who may approve for production does not include you")
		require.ErrorContains(t, err, message)
	}
	_, err = c.promote(none)
	require.ErrorContains(t, err, "approve: 0 of 1", "what was refused was not written")

	approved, err := c.approve("", as(itself))
	require.NoError(t, err)
	assert.Equal(t, run.Subject+" (issuer "+run.Issuer+")", approved.By)
	_, err = c.promote(none)
	require.ErrorContains(t, err, "there is no identity to sign with")
	assert.Empty(t, c.running["production"].Image, "what cannot be signed is not deployed")
	result, err := c.promote(func(r *Request) { as(itself)(r); r.SignAs = signing.As{} })
	require.NoError(t, err)
	assert.Equal(t, digest, ref.Read(result.Image).Digest)
}

// What is no approval of this image for this environment by those who may opens nothing, and is named.
func TestApprovalsThatDoNotCount(t *testing.T) {
	const one = ", gates: {approve: {signed: {by: [{key: ann.pub}], maxAge: 24h}}}"
	word := func(change func(*proof.Approval)) proof.Approval {
		a := proof.Approval{Environment: "production", Decision: proof.Approved, Time: time.Now().Add(-time.Hour)}
		change(&a)
		return a
	}
	for _, tc := range []struct {
		name, key string
		word      proof.Approval
		message   string
	}{
		{"another environment", "ann.key", word(func(a *proof.Approval) { a.Environment = "staging" }), " is for staging"},
		{"not listed", "eve.key", word(func(*proof.Approval) {}), "its signature is not one of ann.pub"},
		{"not signed", "", word(func(*proof.Approval) {}), "it is not signed"},
		{"too old", "ann.key", word(func(a *proof.Approval) { a.Time = time.Now().Add(-25 * time.Hour) }), "is older than 24h"},
		{"from the future", "ann.key", word(func(a *proof.Approval) { a.Time = time.Now().Add(time.Hour) }), "is dated in the future"},
		{"no decision", "ann.key", word(func(a *proof.Approval) { a.Decision = "" }), "ann.pub revoked it at "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newChain(t, one)
			c.keys("ann", "eve")
			digest := c.deployed()
			c.attach(digest, tc.key, tc.word)
			_, err := c.promote(none)
			require.ErrorContains(t, err, "approve: 0 of 1: ann.pub may approve")
			require.ErrorContains(t, err, tc.message)
			assert.Empty(t, c.running["production"].Image)
			// That there are others takes nothing from one that counts.
			c.attach(digest, "ann.key", word(func(*proof.Approval) {}))
			if tc.name == "from the future" || tc.name == "no decision" {
				return // by the same person, and newer or unclear
			}
			_, err = c.promote(none)
			require.NoError(t, err)
		})
	}
	t.Run("another image", func(t *testing.T) {
		c := newChain(t, one)
		c.keys("ann")
		c.deployed()
		_, err := c.approve("ann.key", none)
		require.NoError(t, err)
		c.deployed()
		_, err = c.promote(none)
		require.ErrorContains(t, err, "approve: 0 of 1: ann.pub may approve")
		_, err = c.approve("ann.key", func(r *Request) { r.Image = c.host + "/production/vote@sha256:" + strings.Repeat("0", 64) })
		require.ErrorContains(t, err, "production gets its images from staging, whose repository is "+c.host+"/staging/vote")
		_, err = c.approve("ann.key", func(r *Request) { r.Image = c.host + "/staging/vote@sha256:" + strings.Repeat("0", 64) })
		require.ErrorContains(t, err, "has no image sha256:000")
	})
	t.Run("revoked", func(t *testing.T) {
		c := newChain(t, one)
		c.keys("ann")
		c.deployed()
		_, err := c.approve("ann.key", none)
		require.NoError(t, err)
		d := c.request(func(r *Request) { r.Env, r.SignAs.Key = "production", "ann.key" })
		revoked, err := d.Approve(t.Context(), "the cart is empty", true)
		require.NoError(t, err)
		assert.Equal(t, "revoked", revoked.Decision)
		_, err = c.promote(none)
		require.ErrorContains(t, err, "ann.pub revoked it at ")
	})
	t.Run("withdrawn since", func(t *testing.T) {
		c := newChain(t, one)
		c.keys("ann")
		c.deployed()
		before := c.running["staging"]
		digest := c.deployed()
		_, err := c.approve("ann.key", none)
		require.NoError(t, err)
		_, err = c.promote(none)
		require.NoError(t, err)
		c.before["production"] = c.host + "/production/vote@" + ref.Read(before.Image).Digest
		_, err = c.request(func(r *Request) { r.Env = "production" }).Rollback(t.Context(), "")
		require.NoError(t, err)
		_, err = c.promote(none)
		require.ErrorContains(t, err, "that of ann.pub is from before the image was withdrawn from production")
		_, err = c.approve("ann.key", none)
		require.NoError(t, err)
		result, err := c.promote(none)
		require.NoError(t, err)
		assert.Equal(t, digest, ref.Read(result.Image).Digest)
	})
}

// tampered answers a registry's blobs and lists in another way from now on.
func (c *chain) tampered(change func(http.ResponseWriter, *http.Request, http.Handler) bool) {
	c.tamper.Store(&change)
}

// What cannot be read, or is not what was written, is a refusal by name: never an approval, and never the absence of one that
// revokes it.
func TestARegistryThatLiesAboutApprovals(t *testing.T) {
	for _, tc := range []struct {
		name, message string
		change        func(w http.ResponseWriter, req *http.Request, next http.Handler) bool
	}{
		{"a changed byte", "cannot be read", func(w http.ResponseWriter, req *http.Request, next http.Handler) bool {
			if !strings.Contains(req.URL.Path, "/blobs/") {
				return false
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, req)
			_, _ = w.Write(bytes.Replace(recorded.Body.Bytes(), []byte("bundle"), []byte("bundlf"), 1))
			return true
		}},
		{"a list that fails", "500", func(w http.ResponseWriter, req *http.Request, _ http.Handler) bool {
			if strings.Contains(req.URL.Path, "/referrers/") {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			return false
		}},
		{"a list that is forbidden", "403", func(w http.ResponseWriter, req *http.Request, _ http.Handler) bool {
			if strings.Contains(req.URL.Path, "/referrers/") {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			return false
		}},
		{"a blob that is gone", "cannot be read", func(w http.ResponseWriter, req *http.Request, _ http.Handler) bool {
			if strings.Contains(req.URL.Path, "/blobs/") {
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			return false
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newChain(t, ", gates: {approve: {signed: {by: [{key: ann.pub}]}}}")
			c.keys("ann")
			c.deployed()
			_, err := c.approve("ann.key", none)
			require.NoError(t, err)
			c.tampered(tc.change)
			_, err = c.promote(none)
			require.ErrorContains(t, err, tc.message)
			assert.Empty(t, c.running["production"].Image)
		})
	}
}

const overridable = ", gates: {soak: 30m, approve: {signed: {by: [{key: ann.pub}]}}, override: {by: [{key: on-call.pub}]}}"

func TestAnOverrideOpensClosedGates(t *testing.T) {
	c := newChain(t, overridable)
	c.keys("ann", "on-call", "eve")
	digest := c.deployed()
	override := func(key string) func(*Request) {
		return func(r *Request) { r.Override, r.SignAs.Key = "the shop is down", key }
	}
	for key, message := range map[string]string{
		"eve.key": "who may open the gates of production does not include you: signed with eve.key: its signature is not one of on-call.pub",
		"ann.key": "its signature is not one of on-call.pub",
		"":        "there is nothing to sign with",
	} {
		_, err := c.promote(override(key))
		require.ErrorContains(t, err, message)
		assert.Empty(t, c.running["production"].Image)
	}
	result, err := c.promote(override("on-call.key"))
	require.NoError(t, err)
	assert.Equal(t, digest, ref.Read(result.Image).Digest)
	gates := result.Steps[0].Detail.(*delivery.Promoted).Gates
	require.Len(t, gates, 2)
	for _, g := range gates {
		assert.False(t, g.Open)
		assert.Equal(t, "on-call.pub: the shop is down", g.Override)
	}
	assert.Equal(t, "gates opened by on-call.pub: the shop is down", c.notes["production"], "for the history")
	assert.Contains(t, c.evidence["production"], "Gate soak opened by | on-call.pub: the shop is down")

	d := c.request(func(r *Request) { r.Env, r.Image = "production", c.host+"/production/vote@"+digest })
	verified, err := d.Verify(t.Context())
	require.NoError(t, err)
	var found []delivery.Proof
	for _, p := range verified.Proofs {
		if p.Kind == "override:production" {
			found = append(found, p)
		}
	}
	require.Len(t, found, 1, "recorded once")
	assert.Equal(t, "on-call.pub", found[0].By)
	assert.Contains(t, found[0].Says, "by ann@laptop: the shop is down")
}

// An override opens gates, and nothing else.
func TestAnOverrideIsNoProof(t *testing.T) {
	c := newChain(t, overridable)
	c.keys("ann", "on-call")
	c.deployed()
	digest := c.deployed()
	override := func(r *Request) { r.Override, r.SignAs.Key = "the shop is down", "on-call.key" }
	c.attach(digest, "", proof.Record{Environment: "staging", Status: proof.StatusWithdrawn, Time: time.Now(), Reason: "it sells nothing"})
	_, err := c.promote(override)
	require.ErrorContains(t, err, digest+" was withdrawn from staging")

	c = newChain(t, overridable+", verify: {require: [test], signers: [{key: ann.pub}]}")
	c.keys("ann", "on-call")
	c.deployed()
	_, err = c.promote(override)
	require.ErrorContains(t, err, "production refuses")
	require.ErrorContains(t, err, "test: there is no such proof that counts")
	assert.Empty(t, c.running["production"].Image)
}

func TestAnOverrideThatNobodyMay(t *testing.T) {
	c := newChain(t, ", gates: {soak: 30m}")
	c.deployed()
	override := func(r *Request) { r.Override = "the shop is down" }
	_, err := c.promote(override)
	require.ErrorContains(t, err, "nobody may open the gates of production by an override: name who may in ")
	require.ErrorContains(t, err, "environments.production.gates.override: {by: [{key: keys/on-call.pub}]}")
	for _, env := range []string{"staging", ""} {
		_, err = c.request(func(r *Request) { r.Env = env; override(r) }).Deliver(t.Context())
		require.ErrorContains(t, err, "an override opens the gates of an environment that images are promoted to, and this delivery has none")
	}
	_, err = c.promote(func(r *Request) { r.SignAs.Key = "on-call.key" })
	require.ErrorContains(t, err, "a key or an identity of the CI run signs an override: say the reason of one")
}

func TestThePlanShowsTheGates(t *testing.T) {
	c := newChain(t, overridable)
	p, err := c.request(func(r *Request) { r.Env = "production" }).Plan(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"soak: healthy for 30m", "approve: 1 signature by ann.pub", "override: by on-call.pub"}, p.Gates)
}
