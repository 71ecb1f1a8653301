//go:build linux

package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aksflow/aksflow/internal/localplatform"
)

// application makes Argo CD apply a directory of a repository, and undo drift.
const application = `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: app
  namespace: argocd
spec:
  project: default
  source: {repoURL: "%s", targetRevision: main, path: deploy}
  destination: {server: "https://kubernetes.default.svc", namespace: app}
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [CreateNamespace=true]
`

// blue returns a directory with a kustomization, in deploy, of a ConfigMap with the colour blue.
func blue(t *testing.T) string {
	t.Helper()
	const kustomization = "configMapGenerator: [{name: settings, literals: [colour=blue]}]\ngeneratorOptions: {disableNameSuffixHash: true}\n"
	source := t.TempDir()
	if err := os.Mkdir(filepath.Join(source, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "deploy", "kustomization.yaml"), []byte(kustomization), 0o644); err != nil {
		t.Fatal(err)
	}
	return source
}

func TestArgoCD(t *testing.T) {
	info := up(t, localplatform.Options{Parts: []localplatform.Part{localplatform.ArgoCDServer}})
	commit, err := info.Seed(t.Context(), "team/app", "main", blue(t))
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, info, fmt.Sprintf(application, info.RepositoryURL("team/app")), "apply", "-f", "-")
	kubectl(t, info, "", "wait", "application/app", "--namespace=argocd", "--timeout=60s", "--for=jsonpath={.status.sync.revision}="+commit)
	kubectl(t, info, "", "wait", "application/app", "--namespace=argocd", "--timeout=60s", "--for=jsonpath={.status.sync.status}=Synced")
	colour := func() string {
		return kubectl(t, info, "", "get", "configmap/settings", "--namespace=app", "--output=jsonpath={.data.colour}")
	}
	if got := colour(); got != "blue" {
		t.Errorf("the object in the cluster says %q", got)
	}

	t.Run("puts back", func(t *testing.T) {
		kubectl(t, info, "", "patch", "configmap/settings", "--namespace=app", "--patch={\"data\":{\"colour\":\"red\"}}")
		kubectl(t, info, "", "wait", "configmap/settings", "--namespace=app", "--timeout=60s", "--for=jsonpath={.data.colour}=blue")
	})
	t.Run("API", func(t *testing.T) {
		password, err := os.ReadFile(info.ArgoCDPasswordFile)
		if err != nil {
			t.Fatal(err)
		}
		login, err := json.Marshal(map[string]string{"username": "admin", "password": string(password)})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(info.ArgoCD+"/api/v1/session", "application/json", bytes.NewReader(login))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var session struct{ Token string }
		if err := json.NewDecoder(resp.Body).Decode(&session); err != nil || session.Token == "" {
			t.Fatalf("logging in: %s %v", resp.Status, err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, info.ArgoCD+"/api/v1/applications/app", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+session.Token)
		if resp, err = http.DefaultClient.Do(req); err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var app struct {
			Status struct{ Sync struct{ Revision string } }
		}
		if err := json.NewDecoder(resp.Body).Decode(&app); err != nil || app.Status.Sync.Revision != commit {
			t.Errorf("the API answers %s: %+v %v, want %s", resp.Status, app, err, commit)
		}
	})
}
