package wait

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func app(spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "web"}, "spec": spec}}
}

// An Application is found by whatever form of the repository's address it has.
func TestAddressesOfAnApplication(t *testing.T) {
	for name, c := range map[string]struct{ config, argocd string }{
		"azure-ssh":      {"https://dev.azure.com/org/proj/_git/config", "git@ssh.dev.azure.com:v3/org/proj/config"},
		"azure-vs":       {"https://dev.azure.com/org/proj/_git/config", "https://org.visualstudio.com/proj/_git/config"},
		"azure-blank":    {"https://dev.azure.com/org/My Project/_git/config", "https://dev.azure.com/org/My%20Project/_git/config"},
		"github-case":    {"https://github.com/team/config", "https://github.com/Team/Config.git"},
		"ssh-port":       {"https://github.com/team/config", "ssh://git@ssh.github.com:443/team/config.git"},
		"ssh-plain-port": {"https://git.example.invalid/team/config.git", "ssh://git@git.example.invalid:2222/team/config.git"},
		"scp form":       {"https://git.example.invalid/team/config.git", "git@git.example.invalid:team/config"},
	} {
		o := Options{RepoURL: c.config, Branch: "main", Path: "apps/web"}
		source := map[string]any{"repoURL": c.argocd, "path": "apps/web", "targetRevision": "refs/heads/main"}
		assert.Equal(t, exact, o.nearestApplication(app(map[string]any{"source": source})), name)
		source["repoURL"] = c.argocd + "2"
		assert.Equal(t, -1, o.nearestApplication(app(map[string]any{"source": source})), name)
	}
}

func TestNearestPath(t *testing.T) {
	for _, c := range []struct {
		followed, wanted string
		near             int
	}{
		{"apps/web", "apps/web", exact}, {"./apps/web/", "/apps/web", exact}, {"", ".", exact},
		{"apps", "apps/web", 2}, {"apps/web", "apps/web/values.yaml", 3}, {".", "apps/web", 1}, {"./", "apps/web", 1},
		{"apps/web", "apps", 0}, {"apps/web", "", 0}, {"apps/web2", "apps/web", -1}, {"apps/we", "apps/web", -1}, {"other", "apps/web", -1},
	} {
		assert.Equal(t, c.near, near(c.followed, c.wanted), "%s of %s", c.followed, c.wanted)
	}
}

// TestValuesFiles are Applications that take a file of the path and not its directory.
func TestValuesFiles(t *testing.T) {
	o := Options{RepoURL: repoURL, Branch: "main", Path: "apps/web"}
	chart := func(files ...any) map[string]any {
		return map[string]any{"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.2.3", "helm": map[string]any{"valueFiles": files}}
	}
	byRef := map[string]any{"repoURL": repoURL, "targetRevision": "main", "ref": "values"}
	for name, c := range map[string]struct {
		sources []any
		near    int
	}{
		"by ref":                   {[]any{chart("$values/apps/web/values.yaml"), byRef}, exact - 1},
		"by the ref of another":    {[]any{chart("$other/apps/web/values.yaml"), byRef}, -1},
		"by ref, of another path":  {[]any{chart("$values/apps/other/values.yaml"), byRef}, -1},
		"beside a chart in git":    {[]any{map[string]any{"repoURL": repoURL, "path": "charts/web", "helm": map[string]any{"valueFiles": []any{"../../apps/web/values.yaml"}}}}, exact - 1},
		"from the root":            {[]any{map[string]any{"repoURL": repoURL, "path": "charts/web", "helm": map[string]any{"valueFiles": []any{"/apps/web/values.yaml"}}}}, exact - 1},
		"from another server":      {[]any{map[string]any{"repoURL": repoURL, "path": "charts/web", "helm": map[string]any{"valueFiles": []any{"https://example.com/apps/web/values.yaml"}}}}, -1},
		"the ref and its own path": {[]any{chart(), map[string]any{"repoURL": repoURL, "targetRevision": "main", "ref": "values", "path": "apps/web"}}, exact},
	} {
		assert.Equal(t, c.near, o.nearestApplication(app(map[string]any{"sources": c.sources})), name)
	}
	file := o
	file.Path = "apps/web/values.yaml"
	assert.Equal(t, exact-1, file.nearestApplication(app(map[string]any{"sources": []any{chart("$values/apps/web/values.yaml"), byRef}})))
}

func TestWaitForAnApplicationWithSeveralSources(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.create(applications, "vote", map[string]any{
		"sources": []any{
			map[string]any{"repoURL": "https://charts.example.com", "chart": "vote", "targetRevision": "1.2.3", "helm": map[string]any{"valueFiles": []any{"$config/env/dev/values.yaml"}}},
			map[string]any{"repoURL": repoURL, "targetRevision": "main", "ref": "config"},
		},
		"syncPolicy": map[string]any{"automated": map[string]any{}},
	})
	b.deploy("vote", voteImage(1))
	b.kubelet(running)
	status := b.synced("", "vote")
	status["sync"] = map[string]any{"status": "Synced", "revisions": []any{"1.2.3", commitA}}
	b.answer("vote", status)
	o := b.options()
	result, err := b.wait(o, 30*time.Second)
	require.NoError(t, err)
	assert.Equal(t, commitA, result.Revision)
}

// childOf is the status of an Application that has applied another one.
func (b *testbed) childOf(revision, child string) map[string]any {
	status := b.synced(revision)
	status["resources"] = append(status["resources"].([]any), map[string]any{
		"group": "argoproj.io", "version": "v1alpha1", "kind": "Application", "namespace": b.namespace, "name": child, "status": "Synced",
	})
	return status
}

func TestWaitForAppOfApps(t *testing.T) {
	t.Parallel()
	child := func(b *testbed, automated bool) {
		policy := map[string]any{}
		if automated {
			policy["automated"] = map[string]any{}
		}
		b.create(applications, "child", map[string]any{
			"source":     map[string]any{"repoURL": "https://charts.example.com", "chart": "vote", "targetRevision": "1.2.3"},
			"syncPolicy": policy,
		})
		b.deploy("vote", voteImage(1))
		b.kubelet(running)
		b.application("parent", true)
		b.answer("parent", b.childOf(commitA, "child"))
	}
	t.Run("until the child's pods run the digest", func(t *testing.T) {
		b := newTestbed(t)
		child(b, true)
		b.answer("child", b.synced("1.2.3", "vote"))
		o := b.options()
		o.Kubeconfig = b.account()
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, b.namespace+"/parent", result.Name)
		assert.Equal(t, commitA, result.Revision)
		assert.Equal(t, "Deployment/"+b.namespace+"/vote", result.Objects[0].Ref)
	})
	t.Run("child that fails", func(t *testing.T) {
		b := newTestbed(t)
		child(b, true)
		b.answer("child", map[string]any{
			"sync":           map[string]any{"status": "OutOfSync", "revision": "1.2.3"},
			"operationState": map[string]any{"phase": "Failed", "message": "one or more objects failed to apply", "syncResult": map[string]any{"revision": "1.2.3"}},
		})
		_, err := b.wait(b.options(), 30*time.Second)
		require.EqualError(t, err, "Application "+b.namespace+"/child: one or more objects failed to apply; Argo CD does not sync this revision again by itself: when the cause is gone, sync it in Argo CD, or pass --sync")
	})
	t.Run("child that nobody syncs", func(t *testing.T) {
		b := newTestbed(t)
		child(b, false)
		outOfSync := b.synced("1.2.3", "vote")
		outOfSync["sync"] = map[string]any{"status": "OutOfSync", "revision": "1.2.3"}
		b.answer("child", outOfSync)
		_, err := b.wait(b.options(), 30*time.Second)
		require.ErrorContains(t, err, "Application "+b.namespace+"/child is not synced automatically")
	})
	t.Run("child whose spec has just changed", func(t *testing.T) {
		b := newTestbed(t)
		child(b, true)
		stale := b.synced("1.2.2", "vote")
		stale["sync"].(map[string]any)["comparedTo"] = map[string]any{"source": map[string]any{"chart": "vote", "targetRevision": "1.2.2"}}
		b.answer("child", stale)
		_, err := b.wait(b.options(), 3*time.Second)
		require.ErrorContains(t, err, "Application "+b.namespace+"/child: Argo CD has not looked at the repository yet")
	})
	t.Run("through Argo CD's API", func(t *testing.T) {
		b := newTestbed(t)
		s := argoAPI(t, b)
		child(b, true)
		b.patch(applications, "child", map[string]any{"status": b.synced("1.2.3", "vote")})
		b.patch(applications, "parent", map[string]any{"status": b.childOf(commitA, "child")})
		o := b.options()
		o.ArgoCDServer, o.ArgoCDToken, o.Name = s.URL+"/argo", "correct-horse", "parent"
		o.Contains = nil
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Len(t, result.Objects, 1)
	})
}

// flux is Flux with a repository that has fetched a commit, and a Kustomization that has applied it.
func (b *testbed) flux(path, commit string, inventory ...string) {
	b.create(gitRepositories, "config", map[string]any{"url": repoURL, "ref": map[string]any{"branch": "main"}})
	b.kustomization("vote", path, commit, inventory...)
	asked := func(o *unstructured.Unstructured) bool { return o.GetAnnotations()[reconcileAnnotation] != "" }
	b.when(gitRepositories, "config", asked, func(o *unstructured.Unstructured) {
		b.patch(gitRepositories, "config", map[string]any{"status": map[string]any{
			"lastHandledReconcileAt": o.GetAnnotations()[reconcileAnnotation], "artifact": map[string]any{"revision": "main@sha1:" + commit},
		}})
	})
}

func (b *testbed) kustomization(name, path, commit string, inventory ...string) {
	b.create(kustomizations, name, map[string]any{"path": path, "sourceRef": map[string]any{"kind": "GitRepository", "name": "config"}})
	var entries []any
	for _, id := range inventory {
		entries = append(entries, map[string]any{"id": id, "v": "v1"})
	}
	b.when(kustomizations, name, func(o *unstructured.Unstructured) bool { return o.GetAnnotations()[reconcileAnnotation] != "" }, func(*unstructured.Unstructured) {
		b.patch(kustomizations, name, map[string]any{"status": map[string]any{
			"lastAttemptedRevision": "main@sha1:" + commit, "lastAppliedRevision": "main@sha1:" + commit, "inventory": map[string]any{"entries": entries},
		}})
	})
}

func TestWaitForAHelmRelease(t *testing.T) {
	t.Parallel()
	release := func(b *testbed, status map[string]any) {
		b.flux("./env/dev", commitA, b.namespace+"_vote_helm.toolkit.fluxcd.io_HelmRelease")
		b.create(helmReleases, "vote", map[string]any{"chart": map[string]any{}})
		b.patch(helmReleases, "vote", map[string]any{"metadata": map[string]any{"labels": map[string]any{
			"kustomize.toolkit.fluxcd.io/name": "vote", "kustomize.toolkit.fluxcd.io/namespace": b.namespace,
		}}})
		b.when(helmReleases, "vote", func(o *unstructured.Unstructured) bool { return o.GetAnnotations()[reconcileAnnotation] != "" }, func(o *unstructured.Unstructured) {
			// Without a status subresource, the patch of the status makes a generation, too.
			status["observedGeneration"], status["lastHandledReconcileAt"] = o.GetGeneration()+1, o.GetAnnotations()[reconcileAnnotation]
			b.patch(helmReleases, "vote", map[string]any{"status": status})
		})
		b.deployWith("vote", voteImage(1), func(d *appsv1.Deployment) {
			d.Labels = map[string]string{"helm.toolkit.fluxcd.io/name": "vote", "helm.toolkit.fluxcd.io/namespace": b.namespace}
		})
		b.kubelet(running)
	}
	ready := map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True", "message": "Helm upgrade succeeded"}}}
	t.Run("until its pods run the digest", func(t *testing.T) {
		b := newTestbed(t)
		release(b, ready)
		o := b.options()
		o.Kubeconfig = b.account()
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, Flux, result.Operator)
		assert.Equal(t, b.namespace+"/vote", result.Name)
		assert.Equal(t, "Deployment/"+b.namespace+"/vote", result.Objects[0].Ref)
	})
	t.Run("with an inventory, and named", func(t *testing.T) {
		b := newTestbed(t)
		release(b, map[string]any{
			"conditions": ready["conditions"],
			"inventory":  map[string]any{"entries": []any{map[string]any{"id": b.namespace + "_vote_apps_Deployment", "v": "v1"}}},
		})
		b.create(helmReleases, "release", map[string]any{})
		o := b.options()
		o.Operator, o.Name = Flux, "release"
		_, err := b.wait(o, 10*time.Second)
		require.ErrorContains(t, err, "HelmRelease "+b.namespace+"/release was not applied by a Kustomization")
		o.Name = "vote"
		_, err = b.wait(o, 30*time.Second)
		require.NoError(t, err)
	})
	t.Run("that is out of retries", func(t *testing.T) {
		b := newTestbed(t)
		release(b, map[string]any{"conditions": []any{
			map[string]any{"type": "Ready", "status": "False", "reason": "UpgradeFailed", "message": "Helm upgrade failed for release shop/vote: timed out"},
			map[string]any{"type": "Stalled", "status": "True", "reason": "RetriesExceeded", "message": "Failed to upgrade after 1 attempt(s)"},
		}})
		_, err := b.wait(b.options(), 30*time.Second)
		require.EqualError(t, err, "HelmRelease "+b.namespace+"/vote: Helm upgrade failed for release shop/vote: timed out; Flux does not try it again by itself: when the cause is gone, `flux reconcile helmrelease vote -n "+b.namespace+" --reset`")
	})
	t.Run("whose controller is down", func(t *testing.T) {
		b := newTestbed(t)
		b.flux("./env/dev", commitA, b.namespace+"_vote_helm.toolkit.fluxcd.io_HelmRelease")
		b.create(helmReleases, "vote", map[string]any{})
		o := b.options()
		o.operatorTimeout = time.Second
		_, err := b.wait(o, 30*time.Second)
		require.ErrorContains(t, err, "HelmRelease "+b.namespace+"/vote: Flux has not looked at it for 1s: check that its helm-controller is running")
	})
}

func TestKustomizationOfAParentPath(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.flux("./env", commitA, b.namespace+"_vote_apps_Deployment")
	b.kustomization("root", "./", commitB)
	b.kustomization("beside", "./env/prod", commitB)
	b.deploy("vote", voteImage(1))
	b.kubelet(running)
	o := b.options()
	o.Operator, o.Path = Flux, "env/dev/web"
	result, err := b.wait(o, 30*time.Second)
	require.NoError(t, err)
	assert.Equal(t, b.namespace+"/vote", result.Name)
}

func TestKustomizationFromAnOCIRepository(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.create(kustomizations, "vote", map[string]any{"path": "env/dev", "sourceRef": map[string]any{"kind": "OCIRepository", "name": "config"}})
	o := b.options()
	o.Operator = Flux
	for _, name := range []string{"", "vote"} {
		o.Name = name
		_, err := b.wait(o, 10*time.Second)
		require.ErrorContains(t, err, "Kustomization "+b.namespace+"/vote is made from the OCIRepository config, and aksflow can follow a GitRepository only")
	}
}

// The words of a message are those of the operator.
func TestMessagesUseTheOperatorsWords(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.flux("./env/dev", commitA, b.namespace+"_vote_apps_Deployment")
	b.deploy("vote", "shop/other:1")
	b.kubelet(running)
	o := b.options()
	o.Operator = Flux
	_, err := b.wait(o, 30*time.Second)
	require.ErrorContains(t, err, "check that the commit changes what this Kustomization deploys")
	assert.NotContains(t, err.Error(), "Application ")
}
