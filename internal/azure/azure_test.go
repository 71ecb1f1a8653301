package azure_test

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
	"github.com/aksflow/aksflow/internal/testing/azuretest"
)

var cloud *azuretest.Azure

func TestMain(m *testing.M) { azuretest.Main(m, &cloud) }

// client is a client in a process with these variables, and without az and azd.
func client(variables map[string]string) *azure.Client {
	return azure.New(azure.Options{
		Lookup:   func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
		LookPath: func(string) (string, error) { return "", exec.ErrNotFound },
	})
}

// gitHub are the variables of a workflow's job whose ID tokens have this subject.
func gitHub(subject string) map[string]string {
	return map[string]string{
		"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": standin.GitHubRequestURL,
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": cloud.Job(standin.GitHubIssuer, subject),
		"AZURE_CLIENT_ID":                standin.SampleClient, "AZURE_TENANT_ID": standin.SampleTenant,
	}
}

// push pushes a small image with the client's login.
func push(t *testing.T, c *azure.Client, repository string) error {
	t.Helper()
	host := cloud.Registry(t)
	login, _ := c.Registry(host)
	require.NotNil(t, login)
	r := image.Registry{Refused: login.(interface{ Refused() string }).Refused()}
	var err error
	if r.Username, r.Password, err = login.Login(t.Context()); err != nil {
		return err
	}
	_, err = image.Push(t.Context(), image.Options{Tarball: tarball(t), Repository: host + "/" + repository, Tags: []string{"1"}, Registry: r})
	return err
}

// tarball is an OCI tarball with an image of one small layer.
func tarball(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	made, err := random.Image(1024, 1)
	require.NoError(t, err)
	path, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	require.NoError(t, err)
	require.NoError(t, path.AppendImage(made))
	file := filepath.Join(dir, "image.tar")
	out, err := os.Create(file)
	require.NoError(t, err)
	w := tar.NewWriter(out)
	require.NoError(t, w.AddFS(os.DirFS(filepath.Join(dir, "layout"))))
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
	return file
}

var devCluster = config.AKS{Subscription: standin.SampleSubscription, ResourceGroup: standin.SampleGroup, Name: "aks-dev"}

func TestPushAndConnect(t *testing.T) {
	c := client(gitHub(standin.SampleSubject))
	require.NoError(t, push(t, c, "team/vote"))

	admin, err := os.ReadFile(cloud.Cluster(t))
	require.NoError(t, err)
	cluster, err := kube.Connect(t.Context(), kube.Options{Access: c.Cluster(devCluster)})
	require.NoError(t, err)
	assert.Equal(t, "https://aks-dev-standin.hcp.westeurope.azmk8s.io:443", cluster.Host())
	static, err := kube.MakeStatic(t.Context(), kube.StaticOptions{Options: kube.Options{Access: c.Cluster(devCluster)}})
	require.NoError(t, err)
	assert.Equal(t, "aks-dev", static.Context)
	assert.Contains(t, cloud.Issued(), static.Secrets[0], "a token of Entra")
	assert.NotContains(t, string(static.Content), "kubelogin")
	assert.WithinDuration(t, time.Now().Add(time.Hour), static.Expires, time.Minute)

	_, err = cluster.Get(t.Context(), schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "default", "vote")
	var denied *kube.PermissionError
	require.ErrorAs(t, kube.Explain("Deployment/vote", err), &denied)
	assert.Equal(t, standin.SampleObject, denied.User)

	t.Run("without Entra", func(t *testing.T) {
		without(t, func(e *standin.Estate) {
			e.Clusters = slices.Clone(e.Clusters)
			e.Clusters[0].LocalAccounts, e.Clusters[0].UserKubeconfig = true, admin
		})
		events := &recorder{}
		cluster, err := kube.Connect(report.With(t.Context(), events), kube.Options{Access: c.Cluster(devCluster)})
		require.NoError(t, err)
		_, err = cluster.Get(t.Context(), schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "default", "vote")
		require.NoError(t, err, "an administrator may read")
		assert.Contains(t, events.text(), "the cluster aks-dev does not use Entra")
	})
}

// recorder keeps the messages of events.
type recorder struct {
	mu       sync.Mutex
	messages []string
}

func (r *recorder) Event(e report.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, e.Message)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.messages, "\n")
}
