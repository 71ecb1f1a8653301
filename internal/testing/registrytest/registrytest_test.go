package registrytest

import (
	"os/exec"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
)

func TestStart(t *testing.T) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("needs mmdebstrap: apt-get install mmdebstrap")
	}
	host := Start(t)
	for _, repository := range []string{baseimage.Debian, baseimage.Redis} {
		ref, err := name.ParseReference(host + "/" + repository)
		require.NoError(t, err)
		image, err := remote.Image(ref, remote.WithContext(t.Context()))
		require.NoError(t, err)
		require.NoError(t, validate.Image(image))
	}
}
