package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

func release(t *testing.T, namespace, yaml string) cluster.Release {
	return cluster.Release{App: "app", Namespace: namespace, Objects: manifests(t, yaml, namespace), User: "tester"}
}

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {A: "1", B: "2"}
`

func TestConflictNamesManagerAndField(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, _ := events(t)
	newNamespace(t, s, "conflict")
	_, err := s.Client.CoreV1().ConfigMaps("conflict").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"A": "other", "C": "3"},
	}, metav1.CreateOptions{FieldManager: "operator"})
	require.NoError(t, err)

	_, err = c.Deploy(ctx, release(t, "conflict", settings))
	require.ErrorContains(t, err, "ConfigMap/settings: data.A is owned by operator: leave the field out of the manifests, or take it over with --force-conflicts")

	r := release(t, "conflict", settings)
	r.ForceConflicts = true
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err)
	now, err := s.Client.CoreV1().ConfigMaps("conflict").Get(ctx, "settings", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"A": "1", "B": "2", "C": "3"}, now.Data)
}

func TestForcedFieldsGoBackToTheirOwner(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, _ := events(t)
	newNamespace(t, s, "forced")
	_, err := s.Client.CoreV1().ConfigMaps("forced").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"A": "other"},
	}, metav1.CreateOptions{FieldManager: "operator"})
	require.NoError(t, err)

	bad := vote(t, "forced", "missing")
	bad.Objects = append(bad.Objects, manifests(t, settings, "forced")...)
	bad.Objects = append(bad.Objects[:1], bad.Objects[2:]...) // the other ConfigMap of that name
	bad.ForceConflicts = true
	_, err = c.Deploy(ctx, bad)
	require.ErrorContains(t, err, "does not exist")
	now, err := s.Client.CoreV1().ConfigMaps("forced").Get(ctx, "settings", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"A": "other"}, now.Data)
	assert.Empty(t, now.Labels)
	require.Len(t, now.ManagedFields, 1)
	assert.Equal(t, "operator", now.ManagedFields[0].Manager)
}

func TestPruneTakesExactlyWhatLeft(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	newNamespace(t, s, "prune-a")
	newNamespace(t, s, "prune-b")
	maps := func(names ...string) string {
		var b strings.Builder
		for _, name := range names {
			namespace, name, _ := strings.Cut(name, "/")
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\n", name, namespace)
		}
		return b.String()
	}
	claim := "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n"
	first := release(t, "prune-a", maps("prune-a/one", "prune-a/two", "prune-b/three", "prune-b/four")+claim)
	first.Namespaces = []string{"prune-b"}
	short, cancel := context.WithTimeout(ctx, 5*time.Second) // nothing binds the claim
	_, err := c.Deploy(short, first)
	cancel()
	require.ErrorContains(t, err, "PersistentVolumeClaim/data: ")
	first.Objects = first.Objects[:4]
	_, err = c.Deploy(ctx, first)
	require.NoError(t, err, log)

	// Another delivery's, another person's, and one that carries the label and was not applied by aksflow.
	other := release(t, "prune-a", maps("prune-a/other-app"))
	other.App = "other"
	_, err = c.Deploy(ctx, other)
	require.NoError(t, err)
	one, err := s.Client.CoreV1().ConfigMaps("prune-a").Get(ctx, "one", metav1.GetOptions{})
	require.NoError(t, err)
	for name, labels := range map[string]map[string]string{"persons": nil, "copied": one.Labels} {
		_, err = s.Client.CoreV1().ConfigMaps("prune-a").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}

	second := release(t, "prune-a", maps("prune-a/one"))
	diff, err := c.Diff(ctx, second)
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(diff, "-kind: ConfigMap"), diff)
	result, err := c.Deploy(ctx, second)
	require.NoError(t, err, log)
	assert.Equal(t, map[string]string{
		"ConfigMap/one": cluster.Unchanged, "ConfigMap/two": cluster.Pruned, "ConfigMap/prune-b/three": cluster.Pruned, "ConfigMap/prune-b/four": cluster.Pruned,
	}, statuses(result))
	var left []string
	for _, namespace := range []string{"prune-a", "prune-b"} {
		list, err := s.Client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		require.NoError(t, err)
		for _, m := range list.Items {
			if !strings.HasPrefix(m.Name, "aksflow-") && m.Name != "kube-root-ca.crt" {
				left = append(left, namespace+"/"+m.Name)
			}
		}
	}
	assert.ElementsMatch(t, []string{"prune-a/one", "prune-a/other-app", "prune-a/persons", "prune-a/copied"}, left)

	result, err = c.Rollback(ctx, cluster.App{Name: "app", Namespace: "prune-a"}, 0)
	require.NoError(t, err)
	assert.Equal(t, cluster.Created, statuses(result)["ConfigMap/prune-b/three"])
}

func TestBadInputChangesNothing(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, _ := events(t)
	newNamespace(t, s, "bad")
	_, err := c.Deploy(ctx, release(t, "bad", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 0, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}\n"))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		yaml, says string
		code       int
	}{
		"unknown kind":       {"apiVersion: example.com/v1\nkind: Sprocket\nmetadata: {name: x}\n", "Sprocket/x: the cluster knows no Sprocket in example.com/v1: correct apiVersion and kind, or install the CustomResourceDefinition first", 2},
		"wrong version":      {"apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: x}\n", "Deployment/x: the cluster knows no Deployment in apps/v1beta1", 2},
		"another namespace":  {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: elsewhere}\n", "ConfigMap/x is for the namespace elsewhere, and this deploys to bad", 2},
		"twice":              {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "ConfigMap/bad/x stands in the manifests twice", 2},
		"wrong type":         {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: true}\n", "ConfigMap/x does not fit its schema: .data.a: expected string, got true", 1},
		"unknown field":      {"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {porst: []}\n", "Service/x does not fit its schema: .spec.porst: field not declared in schema", 1},
		"invalid":            {"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999}]}\n", "Service/x is not valid: spec.ports[0].port", 1},
		"immutable":          {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web2}}, template: {metadata: {labels: {app: web2}}, spec: {containers: [{name: web, image: web}]}}}\n", "Deployment/web: spec.selector cannot be changed on an object that exists: give it a new name, or delete and create it again with --recreate", 1},
		"too large":          {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: " + strings.Repeat("x", 1_600_000) + "}\n", "ConfigMap/x is too large for the API server", 2},
		"a little too large": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: " + strings.Repeat("x", 1_100_000) + "}\n", "ConfigMap/x is too large for the API server", 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Deploy(ctx, release(t, "bad", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\n"+test.yaml))
			require.ErrorContains(t, err, test.says)
			assert.Equal(t, test.code, fault.ExitCode(err))
			assert.NotContains(t, strings.TrimSpace(err.Error()), "\n", "one line")
			assert.Less(t, len(err.Error()), 1000)
			_, err = s.Client.CoreV1().ConfigMaps("bad").Get(ctx, "good", metav1.GetOptions{})
			assert.True(t, apierrors.IsNotFound(err), "nothing is applied")
		})
	}

	_, err = c.Deploy(ctx, release(t, "no-such-namespace", settings))
	require.ErrorContains(t, err, "there is no namespace no-such-namespace: add a Namespace to the manifests, or create it first")

	r := release(t, "no-such-namespace", settings)
	r.MakeNamespaces = true
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err)
	_, err = c.Deploy(ctx, release(t, "no-such-namespace", settings))
	require.NoError(t, err)
	namespace, err := s.Client.CoreV1().Namespaces().Get(ctx, "no-such-namespace", metav1.GetOptions{})
	require.NoError(t, err, "it is no part of the app, which prunes what is one and left the manifests")
	assert.Nil(t, namespace.DeletionTimestamp)
}

// Whether each new object is tried first or, of very many, some of each kind are.
func TestLateBadObjectLeavesNothing(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	for name, good := range map[string]int{"all-tried": 60, "some-tried": 240} {
		t.Run(name, func(t *testing.T) {
			ctx, log := events(t)
			newNamespace(t, s, name)
			var yaml strings.Builder
			for i := range good {
				fmt.Fprintf(&yaml, "apiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {ports: [{port: 80}]}\n---\n", i)
			}
			result, err := c.Deploy(ctx, release(t, name, yaml.String()+"apiVersion: v1\nkind: Service\nmetadata: {name: zz}\nspec: {ports: [{port: 99999}]}\n"))
			require.ErrorContains(t, err, "Service/zz is not valid: spec.ports[0].port")
			assert.Equal(t, good > 200, strings.Contains(log.String(), "created"), "anything applied")
			assert.Equal(t, good > 200, result.RolledBack)
			list, err := s.Client.CoreV1().Services(name).List(ctx, metav1.ListOptions{})
			require.NoError(t, err)
			assert.Empty(t, list.Items)
		})
	}
}

func TestRecreate(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "recreate", "v1"))
	require.NoError(t, err, log)
	r := vote(t, "recreate", "v1")
	text := strings.ReplaceAll(voteManifests, "app: vote", "app: vote2")
	r.Objects = manifests(t, text, "recreate")
	_, err = render.SetImages(r.Objects, []render.Image{{Ref: r.Image}})
	require.NoError(t, err)
	r.Recreate = true
	before := getDeployment(t, "recreate")
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.NotEqual(t, before.UID, getDeployment(t, "recreate").UID)
}

const migration = `
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: NAMESPACE}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: vote}]}}
`

func TestMigrationRunsFirstAndAnew(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	for i, tag := range []string{"migrate-v1", "migrate-v2"} {
		r := vote(t, "migrate", tag)
		r.Objects = append(r.Objects, manifests(t, migration, "migrate")...)
		_, err := render.SetImages(r.Objects, []render.Image{{Ref: r.Image}})
		require.NoError(t, err)
		_, err = c.Deploy(ctx, r)
		require.NoError(t, err, log)
		text := log.String()
		assert.Less(t, strings.LastIndex(text, "Job/migrate complete"), strings.LastIndex(text, "Deployment/vote "), "run %d", i)
	}
	r := vote(t, "migrate", "migrate-fail")
	r.Objects = append(r.Objects, manifests(t, migration, "migrate")...)
	_, err := render.SetImages(r.Objects, []render.Image{{Ref: r.Image}})
	require.NoError(t, err)
	generation := getDeployment(t, "migrate").Generation
	_, err = c.Deploy(ctx, r)
	require.ErrorContains(t, err, "Job/migrate: container migrate of pod migrate-")
	require.ErrorContains(t, err, "the Job failed: it ended with exit code 7")
	assert.Contains(t, log.String(), "what Job/migrate did is not undone")
	assert.Equal(t, generation, getDeployment(t, "migrate").Generation, "the workloads were not reached")
	_, err = s.Client.BatchV1().Jobs("migrate").Get(ctx, "migrate", metav1.GetOptions{})
	require.NoError(t, err)
}

func TestDiff(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	diff, err := c.Diff(ctx, vote(t, "diff", "v1"))
	require.NoError(t, err)
	assert.Contains(t, diff, "+kind: Deployment")
	assert.NotContains(t, diff, "hush")
	assert.NotContains(t, diff, "strategy", "a default of the server")
	_, err = c.Deploy(ctx, vote(t, "diff", "v1"))
	require.NoError(t, err, log)
	diff, err = c.Diff(ctx, vote(t, "diff", "v1"))
	require.NoError(t, err)
	assert.Empty(t, diff)

	r := vote(t, "diff", "v2")
	r.Objects[2].Object["stringData"] = map[string]any{"password": "other"}
	diff, err = c.Diff(ctx, r)
	require.NoError(t, err)
	var changed []string
	for _, line := range strings.Split(diff, "\n") {
		if (strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-")) && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "+++") {
			changed = append(changed, line)
		}
	}
	assert.Equal(t, []string{
		"-  password: '***'", "+  password: '*** (new)'",
		"-      - image: " + image("v1"), "+      - image: " + image("v2"),
	}, changed)
}

func TestNoRollbackAndBack(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "debug", "v1"))
	require.NoError(t, err, log)
	r := vote(t, "debug", "missing")
	r.NoRollback = true
	result, err := c.Deploy(ctx, r)
	require.Error(t, err)
	assert.False(t, result.RolledBack)
	assert.Contains(t, log.String(), "left as it is for debugging")
	assert.Equal(t, "vote missing 3", deploymentNames(t, "debug"))
	result, err = c.Rollback(ctx, cluster.App{Name: "vote", Namespace: "debug"}, 0)
	require.NoError(t, err, log)
	assert.Equal(t, "vote v1 3", deploymentNames(t, "debug"))
	assert.Equal(t, 3, result.Revision)
	_, err = c.Rollback(ctx, cluster.App{Name: "vote", Namespace: "debug"}, 17)
	require.ErrorContains(t, err, "has no revision 17; it has 3 (deployed), 2 (failed), 1 (superseded)")
}

func TestInterruptPutsBack(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "interrupt", "v1"))
	require.NoError(t, err, log)
	before := getDeployment(t, "interrupt")
	ctx, cancel := context.WithCancel(ctx)
	ctx = report.With(ctx, report.SinkFunc(func(e report.Event) {
		if strings.Contains(e.Message, "are new") {
			cancel()
		}
	}))
	result, err := c.Deploy(ctx, vote(t, "interrupt", "slow"))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
	assert.True(t, result.RolledBack)
	assert.Equal(t, before.Spec, getDeployment(t, "interrupt").Spec)
}

func TestTwoDeploysTakeTurns(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "turns", "v1"))
	require.NoError(t, err, log)
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() {
			r := vote(t, "turns", fmt.Sprintf("v%d", i+2))
			r.User = fmt.Sprintf("user-%d", i)
			_, errs[i] = c.Deploy(ctx, r)
		})
	}
	wg.Wait()
	assert.Equal(t, []error{nil, nil, nil}, errs)
	assert.Regexp(t, `vote is being deployed by user-\d \(\w+\): waiting until that is done`, log.String())
	history, err := c.History(ctx, "vote", "turns")
	require.NoError(t, err)
	require.Len(t, history, 4)
	deployed := 0
	for _, r := range history {
		if r.Status == kube.RevisionDeployed {
			deployed++
		}
	}
	assert.Equal(t, 1, deployed)
}

// asDeployer is a cluster seen with the rights of manifests/rbac/deployer.yaml, less those that without names, as
// "verb resource".
func asDeployer(t *testing.T, s testCluster, namespace, without string) *cluster.Cluster {
	t.Helper()
	ctx := context.Background()
	objects, err := render.Render(ctx, filepath.Join("..", "..", "..", "manifests", "rbac", "deployer.yaml"), render.Options{})
	require.NoError(t, err)
	admin, err := cluster.Connect(ctx, kube.Options{Kubeconfig: s.Kubeconfig})
	require.NoError(t, err)
	for _, o := range objects {
		o.SetNamespace(namespace)
	}
	err = applyAndAwait(ctx, admin, namespace, objects)
	require.NoError(t, err)
	if without != "" {
		role, err := s.Client.RbacV1().Roles(namespace).Get(ctx, "deployer", metav1.GetOptions{})
		require.NoError(t, err)
		verb, resource, _ := strings.Cut(without, " ")
		for i := range role.Rules {
			rule := &role.Rules[i]
			var kept []string
			for _, r := range rule.Resources {
				if r != resource {
					kept = append(kept, r)
					continue
				}
				var verbs []string
				for _, v := range rule.Verbs {
					if v != verb {
						verbs = append(verbs, v)
					}
				}
				role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: rule.APIGroups, Resources: []string{r}, Verbs: verbs})
				rule = &role.Rules[i]
			}
			rule.Resources = kept
		}
		for i := len(role.Rules) - 1; i >= 0; i-- {
			if len(role.Rules[i].Resources) == 0 {
				role.Rules = append(role.Rules[:i], role.Rules[i+1:]...)
			}
		}
		group := ""
		for _, rule := range role.Rules {
			if slices.Contains(rule.Resources, resource) {
				group = rule.APIGroups[0]
			}
		}
		_, err = s.Client.RbacV1().Roles(namespace).Update(ctx, role, metav1.UpdateOptions{})
		require.NoError(t, err)
		name, sub, _ := strings.Cut(resource, "/")
		require.Eventually(t, func() bool { // the authorizer reads roles by a watch
			review, err := s.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + namespace + ":deployer",
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: group, Resource: name, Subresource: sub},
			}}, metav1.CreateOptions{})
			return err == nil && !review.Status.Allowed
		}, waitFor, tick)
	}
	token, err := s.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "deployer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	config, err := clientcmd.LoadFromFile(s.Kubeconfig)
	require.NoError(t, err)
	for _, user := range config.AuthInfos {
		*user = *user.DeepCopy()
		user.ClientCertificate, user.ClientKey, user.ClientCertificateData, user.ClientKeyData = "", "", nil, nil
		user.Token, user.TokenFile, user.Username, user.Password = token.Status.Token, "", "", ""
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	c, err := cluster.Connect(ctx, kube.Options{Kubeconfig: path})
	require.NoError(t, err)
	return c
}

func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	ctx, log := events(t)
	newNamespace(t, s, "least")
	c := asDeployer(t, s, "least", "")
	_, err := c.Deploy(ctx, vote(t, "least", "v1"))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, vote(t, "least", "missing"))
	require.ErrorContains(t, err, "does not exist in its registry")
	require.NotContains(t, err.Error(), "may not")
	r := vote(t, "least", "v2")
	r.Strategy.Kind = cluster.BlueGreen
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	_, err = c.Rollback(ctx, cluster.App{Name: "vote", Namespace: "least"}, 0)
	require.NoError(t, err, log)
	assert.NotContains(t, log.String(), "may not")
}

func TestMissingPermissionNamesTheRule(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	ctx, _ := events(t)
	for without, says := range map[string]string{
		"patch deployments": `may not patch deployments of apps in the namespace NAMESPACE: add to its Role: - {apiGroups: ["apps"], resources: ["deployments"], verbs: ["patch"]}`,
		"create leases":     `- {apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"]}`,
	} {
		t.Run(without, func(t *testing.T) {
			namespace := "without-" + strings.ReplaceAll(without, " ", "-")
			newNamespace(t, s, namespace)
			c := asDeployer(t, s, namespace, without)
			_, err := c.Deploy(ctx, vote(t, namespace, "v1"))
			require.ErrorContains(t, err, strings.ReplaceAll(says, "NAMESPACE", namespace))
			_, err = s.Client.CoreV1().Services(namespace).Get(ctx, "vote", metav1.GetOptions{})
			assert.True(t, apierrors.IsNotFound(err), "nothing is applied")
		})
	}
}

// cuttable forwards connections to the API server until it is cut.
type cuttable struct {
	mu     sync.Mutex
	target string
	cut    bool
	open   map[net.Conn]bool
}

func (p *cuttable) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("the network is cut")}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, p.target)
	if err == nil {
		p.open[conn] = true
	}
	return conn, err
}

func (p *cuttable) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for conn := range p.open {
		_ = conn.Close()
	}
	p.open = map[net.Conn]bool{}
}

func TestNetworkCutInMidDeploy(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	require.NoError(t, err)
	u, err := url.Parse(config.Host)
	require.NoError(t, err)
	for name, tag := range map[string]string{"finishes": "v2", "restores": "missing"} {
		t.Run(name, func(t *testing.T) {
			ctx, log := events(t)
			network := &cuttable{target: u.Host, open: map[net.Conn]bool{}}
			c, err := cluster.Connect(ctx, kube.Options{Kubeconfig: s.Kubeconfig, Network: dial.Network{Dialer: network.dial}})
			require.NoError(t, err)
			_, err = c.Deploy(ctx, vote(t, "cut-"+name, "v1"))
			require.NoError(t, err, log)
			var once sync.Once
			cutting := report.With(ctx, report.SinkFunc(func(e report.Event) {
				fmt.Fprintf(log, "%s %s\n", e.Object, e.Message)
				if e.Object == "Deployment/vote" && e.Message == cluster.Configured {
					once.Do(func() {
						network.set(true)
						time.AfterFunc(4*time.Second, func() { network.set(false) })
					})
				}
			}))
			result, err := c.Deploy(cutting, vote(t, "cut-"+name, tag))
			if name == "finishes" {
				require.NoError(t, err, log)
				assert.Equal(t, 2, result.Revision)
			} else {
				require.ErrorContains(t, err, "does not exist in its registry")
				assert.True(t, result.RolledBack)
			}
			assert.Contains(t, log.String(), "the API server does not answer")
			assert.Contains(t, log.String(), "the API server answers again after")
		})
	}
}

func TestConnect(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() { // takes connections and says nothing
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer func() { _, _ = io.Copy(io.Discard, conn) }()
		}
	}()
	kubeconfig := func(server, user string) string {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: %q}}]\nusers: [{name: a, user: %s}]\n", server, user)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for name, test := range map[string]struct {
		options kube.Options
		says    string
		code    int
	}{
		"missing":    {kube.Options{Kubeconfig: "/no/such/file"}, "no kubeconfig at /no/such/file: name one with --kubeconfig", 2},
		"no context": {kube.Options{Kubeconfig: kubeconfig("https://127.0.0.1:1", "{}"), Context: "b"}, `has no context "b"`, 2},
		"nowhere":    {kube.Options{Kubeconfig: kubeconfig("https://127.0.0.1:1", "{}")}, "the API server https://127.0.0.1:1 cannot be reached", 1},
		"silent":     {kube.Options{Kubeconfig: kubeconfig("http://"+listener.Addr().String(), "{}")}, "did not answer within 3s", 1},
		"plugin":     {kube.Options{Kubeconfig: kubeconfig("https://127.0.0.1:1", "{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-kubelogin, interactiveMode: Never}}")}, "credential plugin no-such-kubelogin is not installed: put it on PATH", 2},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			_, err := cluster.Connect(ctx, test.options)
			require.ErrorContains(t, err, test.says)
			assert.Equal(t, test.code, fault.ExitCode(err))
			assert.Less(t, time.Since(began), 5*time.Second)
		})
	}
}
