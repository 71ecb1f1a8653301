package proof

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCIToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "bearer of-the-job" || req.URL.Query().Get("audience") != "sigstore" || req.URL.Query().Get("v") != "1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"value": "a.b.c"}`)
	}))
	defer server.Close()
	token := func(variables map[string]string) (string, error) {
		return CIToken(t.Context(), func(name string) (string, bool) { v, ok := variables[name]; return v, ok }, nil)
	}
	got, err := token(map[string]string{varToken: "x.y.z"})
	require.NoError(t, err)
	require.Equal(t, "x.y.z", got)
	got, err = token(map[string]string{varGitHubURL: server.URL + "?v=1", varGitHubBearer: "of-the-job"})
	require.NoError(t, err)
	require.Equal(t, "a.b.c", got)
	_, err = token(map[string]string{varGitHubURL: server.URL, varGitHubBearer: "of-another"})
	require.ErrorContains(t, err, "it answered 401 Unauthorized without a token")
	require.NotContains(t, err.Error(), "of-another")
	_, err = token(nil)
	require.ErrorContains(t, err, "id-token: write")
}
