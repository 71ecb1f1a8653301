package azure_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// The tag of a key is locked where the login may do that. That it may not is no error: it may push all the same.
func TestTagsAreLocked(t *testing.T) {
	host := cloud.Registry(t)
	for name, tt := range map[string]struct {
		repositories bool
		role         string
		locked       bool
	}{
		"with AcrPush":             {false, standin.AcrPush, false},
		"with repository writer":   {true, standin.RepositoryWriter, true},
		"with reading rights only": {true, standin.RepositoryReader, false},
	} {
		t.Run(name, func(t *testing.T) {
			allow := func(role string) func(*standin.Estate) {
				return func(e *standin.Estate) {
					e.Registries = []standin.Registry{{ID: e.Registries[0].ID, Login: e.Registries[0].Login, Repositories: tt.repositories}}
					e.Assignments = []standin.Assignment{{Principal: standin.SampleObject, Role: role, Scope: e.Registries[0].ID}}
				}
			}
			pusher := standin.AcrPush
			if tt.repositories {
				pusher = standin.RepositoryWriter
			}
			without(t, allow(pusher))
			c, repository := client(gitHub(standin.SampleSubject)), "locked/"+tt.role[:8]
			require.NoError(t, push(t, c, repository))

			without(t, allow(tt.role))
			login, _ := c.Registry(host)
			var r image.Registry
			var err error
			r.Username, r.Password, err = login.Login(t.Context())
			require.NoError(t, err)
			locked, err := r.Lock(t.Context(), host+"/"+repository, "1")
			require.NoError(t, err)
			assert.Equal(t, tt.locked, locked)
			if !locked {
				return
			}
			require.ErrorContains(t, push(t, c, repository), "disallowed", "another image gets the tag no more")
			opened, err := r.Open(t.Context(), host+"/"+repository, image.ReadWrite)
			require.NoError(t, err)
			digest, ok, err := opened.Digest(t.Context(), "1")
			require.NoError(t, err)
			require.True(t, ok)
			_, err = opened.Attach(t.Context(), digest, image.Artifact{Type: "application/vnd.example", Content: []byte("proof")})
			require.NoError(t, err, "proofs are attached all the same")
		})
	}
}
