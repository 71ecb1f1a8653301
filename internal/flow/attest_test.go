package flow

import (
	"crypto/elliptic"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/testing/ociimage"
)

// signs is a delivery of a tarball to an environment that signs with a key, and that verifies with another file of it.
func signs(t *testing.T, kinds string) *Delivery {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(t, err)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		ociimage.Layer(t, map[string]string{"var/lib/dpkg/status": "Package: libc6\nStatus: install ok installed\nVersion: 2\nArchitecture: amd64\n"}))
	require.NoError(t, err)
	return opened(t, fake{steps: []delivery.Step{does("deploy", delivery.Outcome{}, nil)}}, func(r *Request) {
		dir := filepath.Dir(r.Config)
		for name, content := range map[string]string{
			"ci.key": string(private), "ci.pub": string(public), "aksflow.yaml": fmt.Sprintf(`app: vote
environments:
  dev:
    registry: %s
    manifests: manifests
    sign: {key: ci.key}
    verify: {require: [%s], signers: [{key: ci.pub}]}
  other: {registry: %[1]s, manifests: manifests}
`, server.Listener.Addr(), kinds),
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		}
		r.Tarball = ociimage.Write(t, img)
		r.Variables = func(name string) (string, bool) {
			if name == "COSIGN_PASSWORD" {
				return "secret", true
			}
			return "", false
		}
	})
}

func TestPublishAttaches(t *testing.T) {
	d := signs(t, "sbom, provenance")
	r, err := d.Deliver(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"sbom", "provenance"}, r.Steps[0].Detail.(*delivery.Published).Attached)
	assert.True(t, r.Delivered)
	again, err := d.Deliver(t.Context())
	require.NoError(t, err)
	assert.Equal(t, delivery.Unchanged, again.Steps[0].Status, "the proofs are there")

	d.image = ref.Read(r.Image)
	v, err := d.Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, v.Verified)
	require.Len(t, v.Proofs, 2)
	assert.Equal(t, "ci.pub", v.Proofs[0].By)
	assert.Equal(t, "1 package", v.Proofs[1].Says)

	attached, err := d.Attached(t.Context(), r.Image)
	require.NoError(t, err)
	assert.Equal(t, v.Proofs, attached.Proofs)
	assert.False(t, attached.Proofs[0].Time.IsZero(), "provenance says when it was made")
	for _, none := range []string{"", "elsewhere.example/vote@" + v.Digest, d.env.Repository + "@sha256:" + strings.Repeat("0", 64)} {
		attached, err := d.Attached(t.Context(), none)
		require.NoError(t, err)
		assert.Nil(t, attached)
	}
}

func TestAnImageWithoutProofsIsRefused(t *testing.T) {
	d := signs(t, "sbom, test, proved:dev")
	r, err := d.Deliver(t.Context())
	require.ErrorContains(t, err, "dev refuses "+r.Image+": test: there is no such proof that counts")
	require.ErrorContains(t, err, "proved:dev: there is no such proof that counts")
	assert.False(t, r.Delivered)
	assert.Equal(t, delivery.Failed, r.Steps[1].Status)

	d.image, d.Tarball = ref.Ref{}, ""
	_, err = d.Step(t.Context(), "deploy")
	require.ErrorContains(t, err, "this deploy names no image by its digest")

	d.image = ref.Read(r.Image)
	v, err := d.Verify(t.Context())
	require.ErrorContains(t, err, "dev refuses")
	assert.Len(t, v.Refused, 2)
	assert.False(t, v.Verified)
	attached, err := d.Attached(t.Context(), r.Image)
	require.NoError(t, err, "a report shows also what is refused")
	assert.Equal(t, v, attached)

	d.image.Digest, d.image.Tag = "sha256:"+strings.Repeat("0", 64), ""
	_, err = d.Verify(t.Context())
	require.ErrorContains(t, err, "has no image")
}
