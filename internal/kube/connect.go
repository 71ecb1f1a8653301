package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Options name a cluster.
type Options struct {
	// Kubeconfig is a path. Empty means the files that KUBECONFIG lists, else ~/.kube/config, else the service account
	// of the pod that this process runs in.
	Kubeconfig string
	// Context is a context of the kubeconfig; empty means its current one.
	Context string
	// Network is the way to the API server.
	Network dial.Network
	// Access, if set, gives the kubeconfig and the login in place of Kubeconfig and Context.
	Access delivery.ClusterAccess
}

// Cluster is a Kubernetes cluster whose API server answered. It is safe for concurrent use.
type Cluster struct {
	host    string // of the API server, for messages
	version string // "v1.34.4"
	config  *rest.Config
	access  delivery.ClusterAccess // nil: a kubeconfig of the user's
	http    *http.Client

	core      coreclient.CoreV1Interface
	apps      appsclient.AppsV1Interface
	leases    coordinationclient.CoordinationV1Interface
	dynamic   dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper

	outage outage
	clock  clock
}

// Connect reads the kubeconfig and asks the API server for its version, so that a wrong address fails here and at once.
// What is wrong with the kubeconfig is fault.Usage.
func Connect(ctx context.Context, o Options) (*Cluster, error) {
	config, err := configOf(ctx, o)
	if err != nil {
		return nil, err
	}
	config.UserAgent = Manager
	if !o.Network.Usual() {
		proxy := config.Proxy // of the kubeconfig
		if proxy == nil {
			proxy = http.ProxyFromEnvironment
		}
		config.Dial, config.Proxy = o.Network.Dial, o.Network.Proxy(proxy)
	}
	// The API server's own priority and fairness protect it. The client's limit would only slow 500 objects down.
	config.QPS = -1
	config.WarningHandlerWithContext = &warnings{shown: map[string]bool{}}

	c := &Cluster{host: config.Host, config: config, access: o.Access}
	// A credential plugin runs around this, so that what comes here has its credentials.
	c.clock.reached = make(chan struct{})
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &clockReader{next, &c.clock} })
	if err := c.makeClients(); err != nil {
		return nil, fault.Usage(explainCredential(ctx, err, config.ExecProvider))
	}
	if err := c.firstAnswer(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// makeClients builds the clients on one HTTP client, so that they share connections. Nothing is sent.
func (c *Cluster) makeClients() (err error) {
	if c.http, err = rest.HTTPClientFor(c.config); err != nil {
		return err
	}
	if c.core, err = coreclient.NewForConfigAndClient(c.config, c.http); err != nil {
		return err
	}
	if c.apps, err = appsclient.NewForConfigAndClient(c.config, c.http); err != nil {
		return err
	}
	if c.leases, err = coordinationclient.NewForConfigAndClient(c.config, c.http); err != nil {
		return err
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(c.config, c.http); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfigAndClient(c.config, c.http)
	if err != nil {
		return err
	}
	c.discovery = memory.NewMemCacheClient(client)
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	return nil
}

// Version is the API server's version, as "v1.34.4".
func (c *Cluster) Version() string { return c.version }

// Host is the API server's address.
func (c *Cluster) Host() string { return c.host }

// warnings reports each warning of the API server once: a deprecated API version, a field that is not known.
// https://kubernetes.io/blog/2020/09/03/warnings/
type warnings struct {
	mu    sync.Mutex
	shown map[string]bool
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext. 299 is the only code that the API uses.
func (w *warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if code != 299 || text == "" {
		return
	}
	w.mu.Lock()
	known := w.shown[text]
	w.shown[text] = true
	w.mu.Unlock()
	if !known {
		report.Warn(ctx, "the API server warns: %s", text)
	}
}

// Files returns the files that a kubeconfig is read from: the one of [Options], or those that kubectl would take.
func Files(kubeconfig string) []string {
	if kubeconfig != "" {
		return []string{kubeconfig}
	}
	return clientcmd.NewDefaultClientConfigLoadingRules().GetLoadingPrecedence()
}

// Contexts returns the names of the contexts of a kubeconfig: of the one that is named, or of those that kubectl would take.
func Contexts(kubeconfig string) ([]string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return slices.Sorted(maps.Keys(config.Contexts)), nil
}

// configOf reads the kubeconfig, or asks for one.
func configOf(ctx context.Context, o Options) (*rest.Config, error) {
	if o.Access != nil {
		return accessConfig(ctx, o.Access)
	}
	config, err := restConfig(o)
	return config, fault.Usage(err)
}

func restConfig(o Options) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	where := strings.Join(Files(o.Kubeconfig), ", ")
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no kubeconfig at %s: name one with --kubeconfig, or make one with `az aks get-credentials`", where)
	case clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("no cluster is configured in %s: name a kubeconfig with --kubeconfig, or make one with `az aks get-credentials`", where)
	case clientcmd.IsContextNotFound(err), err != nil && o.Context != "" && strings.Contains(err.Error(), fmt.Sprintf("context %q does not exist", o.Context)):
		return nil, fmt.Errorf("%s has no context %q: `kubectl config get-contexts` lists those it has", where, o.Context)
	case err != nil:
		return nil, fmt.Errorf("the kubeconfig %s: %w", where, err)
	}
	return config, nil
}

// firstAnswerLimit is how long Connect waits for the API server's first answer, if its context allows that. The time that a
// credential plugin takes does not count: it has credentialLimit.
const firstAnswerLimit = 10 * time.Second

var errNoAnswer = errors.New("no answer from the API server")

// firstAnswer asks for the version.
func (c *Cluster) firstAnswer(ctx context.Context) error {
	limit := firstAnswerLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline).Round(100*time.Millisecond))
	}
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var body []byte
	var failed error
	ended := make(chan struct{})
	// A credential plugin that hangs does not end with the context, so this does not wait for it.
	go func() {
		defer close(ended)
		body, failed = c.core.RESTClient().Get().AbsPath("/version").Do(asking).Raw()
	}()
	err := c.awaitCredential(asking, ended)
	if err == nil {
		timer := time.AfterFunc(limit, func() { cancel(errNoAnswer) })
		defer timer.Stop()
		select {
		case <-ended:
			var version struct {
				GitVersion string `json:"gitVersion"`
			}
			if err = failed; err == nil {
				err = json.Unmarshal(body, &version)
			}
			c.version = version.GitVersion
		case <-asking.Done():
			err = context.Cause(asking)
		}
	}
	return c.explainFirst(ctx, err, limit)
}

// explainFirst says what to do about an error of the first request.
func (c *Cluster) explainFirst(ctx context.Context, err error, limit time.Duration) error {
	switch {
	case err == nil:
		return nil
	case c.access != nil && (errors.Is(err, errNoAnswer) || ctx.Err() == nil && isConnection(err)):
		return c.explainUnreachable(ctx, err)
	case c.access != nil && apierrors.IsUnauthorized(err):
		return fault.Usagef("the API server %s does not accept the token: is the cluster in the tenant that the login is for, and does it use Entra?", c.host)
	case errors.Is(err, errNoAnswer), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("the API server %s did not answer within %s: is the cluster running, and may this machine reach it (a private cluster, an authorized IP range, a proxy)?", c.host, report.Span(limit))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case apierrors.IsUnauthorized(err):
		return fault.Usagef("the API server %s does not accept the kubeconfig's credentials: get new ones, for AKS with `az aks get-credentials --overwrite-existing`", c.host)
	case isConnection(err):
		return fmt.Errorf("the API server %s cannot be reached (%w): is the cluster running, and is this the right context?", c.host, rootCause(err))
	}
	if explained := explainCredential(ctx, err, c.config.ExecProvider); explained != err {
		return fault.Usage(explained)
	}
	return fmt.Errorf("the API server %s: %w", c.host, err)
}

// client-go must not write to stderr, where a table may be on display. Its messages come back as errors too, which are
// reported. klog is global to the process and reads its logger without a lock, so it is set before anything runs.
func init() {
	klog.SetLogger(logr.Discard())
}

// rootCause strips the request's URL from a transport error, since the message around it names the server already.
func rootCause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
