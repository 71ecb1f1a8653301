package access

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// The user of a token may stand in a variable, since aksflow.yaml is the same for everybody.
func TestGitUsername(t *testing.T) {
	variables := map[string]string{"TOKEN": "t", varGitUsername: "ann"}
	var hidden []string
	source := Source{
		Variables: func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
		Hide:      func(secret string) { hidden = append(hidden, secret) },
	}
	for inFile, want := range map[string]string{"": "ann", "robot": "robot"} {
		env := &delivery.Environment{}
		env.GitOps.PasswordEnv, env.GitOps.Username = "TOKEN", inFile
		require.NoError(t, source.Fill(env, Flags{}))
		username, password, err := env.Git.Login.Login(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, username)
		assert.Equal(t, "t", password)
	}
	assert.Equal(t, []string{"t", "t"}, hidden)
}
