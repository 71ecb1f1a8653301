package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Options say which cluster.
type Options struct {
	// Kubeconfig is a path. Empty: the files that KUBECONFIG lists, else ~/.kube/config, else the service account of
	// the pod this runs in.
	Kubeconfig string
	// KubeconfigData is the content of a kubeconfig that stands in no file. It wins over Kubeconfig.
	KubeconfigData []byte
	// Context is a context of the kubeconfig; default: its current one.
	Context string
	// Dial replaces the way to the API server. Its name, and with it the certificate, stay those of the kubeconfig.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// FirstAnswer is how long the API server may take to answer at all; default 10 s.
	FirstAnswer time.Duration
}

// Cluster is a Kubernetes cluster that answered. It is safe for concurrent use.
type Cluster struct {
	host      string // of the API server, for messages
	version   string // "v1.34.4"
	config    *rest.Config
	client    kubernetes.Interface
	dynamic   dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper

	connection connection
}

// Connect reads the kubeconfig and asks the API server for its version, so that a wrong address fails here and at once.
// What is wrong with the kubeconfig is fault.Usage.
func Connect(ctx context.Context, o Options) (*Cluster, error) {
	config, err := restConfig(o)
	if err != nil {
		return nil, fault.Usage(err)
	}
	config.UserAgent = Manager
	config.Dial = o.Dial
	// The API server's own priority and fairness protect it. The client's limit would only slow 500 objects down.
	config.QPS = -1
	// Deprecated API versions are the manifests' affair; client-go would write them to stderr in the middle of a table.
	config.WarningHandler = rest.NoWarnings{}

	c := &Cluster{host: config.Host, config: config}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fault.Usage(explainConfig(err))
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fault.Usage(explainConfig(err))
	}
	silenceKlog()
	c.discovery = memory.NewMemCacheClient(c.client.Discovery())
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)

	limit := o.FirstAnswer
	if limit == 0 {
		limit = 10 * time.Second
	}
	if err := c.firstAnswer(ctx, limit); err != nil {
		return nil, err
	}
	return c, nil
}

// Version is the API server's version, as "v1.34.4".
func (c *Cluster) Version() string { return c.version }

// Host is the API server's address.
func (c *Cluster) Host() string { return c.host }

func restConfig(o Options) (*rest.Config, error) {
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	var loader clientcmd.ClientConfig
	where := o.Kubeconfig
	switch {
	case len(o.KubeconfigData) > 0:
		where = "the kubeconfig"
		raw, err := clientcmd.Load(o.KubeconfigData)
		if err != nil {
			return nil, fmt.Errorf("reading the kubeconfig: %w", err)
		}
		loader = clientcmd.NewNonInteractiveClientConfig(*raw, o.Context, overrides, nil)
	default:
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = o.Kubeconfig
		if where == "" {
			where = strings.Join(rules.GetLoadingPrecedence(), ", ")
		}
		loader = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	}
	config, err := loader.ClientConfig()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no kubeconfig at %s: name one with --kubeconfig, or make one with `az aks get-credentials`", where)
	case clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("no cluster is configured in %s: name a kubeconfig with --kubeconfig, or make one with `az aks get-credentials`", where)
	case clientcmd.IsContextNotFound(err), err != nil && o.Context != "" && strings.Contains(err.Error(), fmt.Sprintf("context %q does not exist", o.Context)):
		return nil, fmt.Errorf("%s has no context %q: `kubectl config get-contexts` lists those it has", where, o.Context)
	case err != nil:
		return nil, explainConfig(fmt.Errorf("the kubeconfig %s: %w", where, err))
	}
	return config, nil
}

// exec: executable kubelogin not found, exec: executable kubelogin failed with exit code 1
var pluginPattern = regexp.MustCompile(`exec: executable (\S+) (not found|failed with exit code \d+)`)

// explainConfig names the remedy for what goes wrong before anything is sent. What client-go says of a credential plugin
// is a page long.
func explainConfig(err error) error {
	const aks = "AKS uses kubelogin, which `az aks install-cli` installs"
	plugin := pluginPattern.FindStringSubmatch(err.Error())
	var missing *exec.Error
	switch {
	case plugin != nil && plugin[2] == "not found":
		return fmt.Errorf("the kubeconfig's credential plugin %s is not installed: put it on PATH; %s", plugin[1], aks)
	case plugin != nil:
		return fmt.Errorf("the kubeconfig's credential plugin %s %s: run it by itself to see why", plugin[1], plugin[2])
	case errors.As(err, &missing), strings.Contains(err.Error(), "executable file not found"), strings.Contains(err.Error(), "getting credentials: exec"):
		return fmt.Errorf("the kubeconfig's credential plugin does not work (%w): install it and put it on PATH; %s", rootCause(err), aks)
	}
	return err
}

// firstAnswer asks for the version, and once more when the connection broke: an API server that is being restarted
// refuses for a moment.
func (c *Cluster) firstAnswer(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	var version struct {
		GitVersion string `json:"gitVersion"`
	}
	body, err := c.client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err == nil {
		err = unmarshal(body, &version)
	}
	if err == nil {
		c.version = version.GitVersion
		return nil
	}
	switch {
	case errors.Is(context.Cause(ctx), errNoAnswer):
		return fmt.Errorf("the API server %s did not answer within %s: is the cluster running, and may this machine reach it (a private cluster, an authorized IP range, a proxy)?", c.host, limit)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case apierrors.IsUnauthorized(err):
		return fault.Usagef("the API server %s does not accept the kubeconfig's credentials: get new ones, for AKS with `az aks get-credentials --overwrite-existing`", c.host)
	case isConnection(err):
		return fmt.Errorf("the API server %s cannot be reached (%w): is the cluster running, and is this the right context?", c.host, rootCause(err))
	}
	if explained := explainConfig(err); explained != err {
		return fault.Usage(explained)
	}
	return fmt.Errorf("the API server %s: %w", c.host, err)
}

// silenceKlog keeps client-go from writing to stderr, where a table may be on show. What it has to say comes back as
// errors too, which are reported. klog is global to the process, so this is done once.
var silenceKlog = sync.OnceFunc(func() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
})

var errNoAnswer = errors.New("no answer from the API server")

// rootCause strips the request's URL from a transport error, which repeats what the message says already.
func rootCause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
