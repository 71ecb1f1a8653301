//go:build linux

package server

import (
	"fmt"
	"os"
	"testing"

	"github.com/aksflow/aksflow/internal/localplatform"
)

// fluxSync makes Flux apply a directory of a repository, and undo drift.
const fluxSync = `
apiVersion: v1
kind: Secret
metadata: {name: app, namespace: flux-system}
stringData: {username: %q, password: %q}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: app, namespace: flux-system}
spec: {url: %q, interval: 10m, ref: {branch: main}, secretRef: {name: app}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: flux-system}
spec: {sourceRef: {kind: GitRepository, name: app}, path: ./deploy, interval: 10m, prune: true, targetNamespace: default}
`

// fluxSyncs checks that Flux applies what is in git.
func fluxSyncs(t *testing.T, info *localplatform.Info) {
	t.Helper()
	commit, err := info.Seed(t.Context(), "team/app", "main", blue(t))
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(info.GitPasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, info, fmt.Sprintf(fluxSync, info.GitUser, password, info.RepositoryURL("team/app")), "apply", "-f", "-")
	kubectl(t, info, "", "wait", "kustomization/app", "--namespace="+info.FluxNamespace, "--timeout=60s",
		"--for=jsonpath={.status.lastAppliedRevision}=main@sha1:"+commit)
	if got := kubectl(t, info, "", "get", "configmap/settings", "--output=jsonpath={.data.colour}"); got != "blue" {
		t.Errorf("the object in the cluster says %q", got)
	}
}
