package wait

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestGeneratorsReadAPath(t *testing.T) {
	reads := func(key, pattern string) map[string]any {
		return map[string]any{"git": map[string]any{"repoURL": repoURL, "revision": "main", key: []any{map[string]any{"path": pattern}}}}
	}
	matrix := map[string]any{"matrix": map[string]any{"generators": []any{
		map[string]any{"list": map[string]any{}}, map[string]any{"merge": map[string]any{"generators": []any{reads("files", "env/*/config.json")}}},
	}}}
	other := reads("directories", "env/*")
	other["git"].(map[string]any)["repoURL"] = repoURL + "2"
	excluded := reads("directories", "env/dev")
	excluded["git"].(map[string]any)["directories"].([]any)[0].(map[string]any)["exclude"] = true
	for name, c := range map[string]struct {
		generator map[string]any
		path      string
		near      int
	}{
		"directory":           {reads("directories", "env/*"), "env/dev", exact},
		"below the directory": {reads("directories", "env/*"), "env/dev/web", 3},
		"above them":          {reads("directories", "env/*"), "env", exact},
		"other directory":     {reads("directories", "apps/*"), "env/dev", -1},
		"files":               {reads("files", "env/*/config.json"), "env/dev", exact},
		"any depth":           {reads("files", "env/**/config.json"), "env/dev/web", 2},
		"matrix and merge":    {matrix, "env/dev", exact},
		"other repository":    {other, "env/dev", -1},
		"excluded":            {excluded, "env/dev", -1},
	} {
		o := Options{RepoURL: repoURL, Branch: "main", Path: c.path}
		assert.Equal(t, c.near, o.nearestSet(app(map[string]any{"generators": []any{c.generator}})), name)
	}
}

// ofSet makes Applications with pods that run the image, as an ApplicationSet makes them for several clusters.
func (b *testbed) ofSet(set string, source map[string]any, apps ...string) {
	b.create(applicationSets, set, map[string]any{"generators": []any{}})
	owner, err := b.of(applicationSets).Get(b.t.Context(), set, metav1.GetOptions{})
	require.NoError(b.t, err)
	for _, name := range apps {
		b.create(applications, name, map[string]any{"source": source, "syncPolicy": map[string]any{"automated": map[string]any{}}})
		b.patch(applications, name, map[string]any{"metadata": map[string]any{"ownerReferences": []any{
			map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": set, "uid": string(owner.GetUID())},
		}}})
		b.deploy(name, voteImage(1))
	}
	b.kubelet(running)
}

// generated answers a request to run the generators.
func (b *testbed) generated(set string, status map[string]any) {
	asked := func(o *unstructured.Unstructured) bool { return o.GetAnnotations()[setRefreshAnnotation] != "" }
	b.when(applicationSets, set, asked, func(*unstructured.Unstructured) {
		b.patch(applicationSets, set, map[string]any{"metadata": map[string]any{"annotations": map[string]any{setRefreshAnnotation: nil}}, "status": status})
	})
}

func TestWaitForAnApplicationSet(t *testing.T) {
	t.Parallel()
	ours := map[string]any{"repoURL": repoURL, "path": "env/dev", "targetRevision": "main"}
	t.Run("for several clusters", func(t *testing.T) {
		b := newTestbed(t)
		b.ofSet("vote", ours, "west", "east")
		b.application("unrelated", true)
		b.patch(applications, "unrelated", map[string]any{"spec": map[string]any{"source": map[string]any{"path": "env/prod"}}})
		b.generated("vote", nil)
		for _, name := range []string{"west", "east"} {
			b.answer(name, b.synced(commitA, name))
		}
		o := b.options()
		o.Kubeconfig = b.account()
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, b.namespace+"/vote", result.Name)
		assert.Equal(t, commitA, result.Revision)
		assert.Len(t, result.Objects, 2)
	})
	t.Run("one of whose Applications is behind", func(t *testing.T) {
		b := newTestbed(t)
		b.ofSet("vote", ours, "west", "east")
		b.generated("vote", nil)
		b.answer("west", b.synced(commitA, "west"))
		b.answer("east", b.synced(commitB, "east"))
		o := b.options()
		o.Contains = nil
		o.Image = voteImage(2)
		_, err := b.wait(o, 3*time.Second)
		require.ErrorContains(t, err, "Deployment/"+b.namespace+"/east: still has "+voteImage(1))
	})
	t.Run("whose generators read the path", func(t *testing.T) {
		b := newTestbed(t)
		b.ofSet("vote", map[string]any{"repoURL": "https://charts.example.com", "chart": "vote", "targetRevision": "1.2.3"}, "west")
		b.patch(applicationSets, "vote", map[string]any{"spec": map[string]any{"generators": []any{
			map[string]any{"git": map[string]any{"repoURL": repoURL, "revision": "HEAD", "files": []any{map[string]any{"path": "env/*/config.json"}}}},
		}}})
		b.generated("vote", nil)
		b.answer("west", b.synced("1.2.3", "west"))
		result, err := b.wait(b.options(), 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, b.namespace+"/vote", result.Name)
	})
	t.Run("that an Application has applied, and that fails", func(t *testing.T) {
		b := newTestbed(t)
		b.ofSet("vote", map[string]any{"repoURL": "https://charts.example.com"}, "west")
		b.application("parent", true)
		status := b.childOf(commitA, "vote")
		resources := status["resources"].([]any)
		resources[len(resources)-1].(map[string]any)["kind"] = "ApplicationSet"
		b.answer("parent", status)
		b.generated("vote", map[string]any{"conditions": []any{map[string]any{
			"type": "ErrorOccurred", "status": "True", "reason": "ApplicationParamsGenerationError", "message": "failed to get\nparams",
		}}})
		o := b.options()
		o.Grace = time.Second
		_, err := b.wait(o, 30*time.Second)
		require.EqualError(t, err, "ApplicationSet "+b.namespace+"/vote: failed to get params")
	})
	t.Run("that is named, and whose controller is down", func(t *testing.T) {
		b := newTestbed(t)
		b.ofSet("vote", map[string]any{"repoURL": "https://charts.example.com"}, "west")
		o := b.options()
		o.Name, o.operatorTimeout = "vote", time.Second
		_, err := b.wait(o, 30*time.Second)
		require.ErrorContains(t, err, "ApplicationSet "+b.namespace+"/vote: Argo CD has not looked at it for 1s: check that its applicationset-controller is running")
	})
	t.Run("through Argo CD's API", func(t *testing.T) {
		b := newTestbed(t)
		s := argoAPI(t, b)
		b.ofSet("vote", ours, "west", "east")
		for _, name := range []string{"west", "east"} {
			b.patch(applications, name, map[string]any{"status": b.synced(commitA, name)})
		}
		o := b.options()
		o.ArgoCDServer, o.ArgoCDToken, o.Contains = s.URL+"/argo", "correct-horse", nil
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Len(t, result.Objects, 2)
	})
}
