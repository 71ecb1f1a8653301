package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

// ownLabel marks a namespace that [Own] made, and that it deletes again.
const ownLabel = kube.AnnotationPrefix + "dev"

// Own is a namespace of a developer's own in the cluster of an environment. What the environment's manifests describe runs
// there, beside the environment, which is left alone. It is safe for concurrent use.
type Own struct {
	cluster   *Cluster
	namespace string
	// made reports that the namespace is one that Own makes and deletes. Another one stays, and only the app in it goes.
	made bool

	mu      sync.Mutex
	objects []*unstructured.Unstructured // what was applied last
}

// OpenOwn connects to the cluster of an environment. The namespace is made by the first Deploy unless it is there. One that is
// being deleted is waited for.
func OpenOwn(ctx context.Context, env *delivery.Environment, namespace string) (*Own, error) {
	c, err := connect(ctx, env)
	if err != nil {
		return nil, err
	}
	o := &Own{cluster: c, namespace: namespace}
	now, err := o.present(ctx)
	o.made = now == nil || now.GetLabels()[ownLabel] != ""
	return o, err
}

// present returns the namespace, nil if there is none. One that is being deleted, as after a first deploy that failed, is
// waited for until it is gone.
func (o *Own) present(ctx context.Context) (*unstructured.Unstructured, error) {
	name := "Namespace/" + o.namespace
	now, err := o.cluster.kube.Get(ctx, plan.NamespaceKind.WithVersion("v1"), "", o.namespace)
	if err != nil || now == nil || now.GetDeletionTimestamp() == nil {
		return now, kube.Explain(name, err)
	}
	report.Waitf(ctx, name, "waiting until the one that is being deleted is gone")
	return nil, kube.Explain(name, o.cluster.kube.AwaitGone(ctx, now))
}

// Fingerprint names what the manifests describe, whatever the image.
func (o *Own) Fingerprint(ctx context.Context, r delivery.Release, options target.Options) (string, error) {
	r.Image = ref.Ref{}
	r = o.inside(r)
	rendering := renderOptions(r, options)
	rendering.Cluster = o.cluster.kube
	objects, err := render.Render(ctx, r.Env.Manifests, rendering)
	return digest(objects), err
}

// Deploy brings a release of the environment to the namespace, by a rolling update. answered is called once, when a pod that
// this deploy made answers, or at the end of a deploy that made none; its page is nil where no Service is in front of a
// Deployment. A deploy that fails calls it at most while it lasts.
func (o *Own) Deploy(ctx context.Context, r delivery.Release, options target.Options, answered func(*Page)) (delivery.Outcome, error) {
	from := namespaceOf(r.Env)
	r = o.inside(r)
	release := releaseOf(r, options)
	var err error
	if release.Objects, err = o.cluster.Render(ctx, release.App, r.Env.Manifests, renderOptions(r, options)); err != nil {
		return delivery.Outcome{}, err
	}
	for _, text := range moveTo(release.Objects, from, o.namespace) {
		report.Warn(ctx, "%s, which is not changed to %s", text, o.namespace)
	}
	o.placeNamespace(&release)
	objects, err := o.cluster.normalize(ctx, &release)
	if err != nil {
		return delivery.Outcome{}, err
	}
	o.mu.Lock()
	o.objects = objects
	o.mu.Unlock()
	if _, err := o.present(ctx); err != nil {
		return delivery.Outcome{}, err
	}
	before, err := o.cluster.kube.PodUIDs(ctx, o.namespace)
	if err != nil {
		return delivery.Outcome{}, kube.Explain("the pods of the namespace "+o.namespace, err)
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	page, first := o.Page(), make(chan error, 1)
	go func() {
		if page == nil {
			first <- errNoPage
			return
		}
		err := o.awaitAnswer(waiting, page, release.Image, before)
		if err == nil {
			answered(page)
		}
		first <- err
	}()
	out, err := outcome(o.cluster.Deploy(ctx, release))
	stop()
	if failed := <-first; failed != nil && err == nil {
		answered(page) // what runs was left as it is, or nothing can be asked
	}
	return out, err
}

var errNoPage = errors.New("there is no Service in front of a Deployment")

// inside returns the release as one for the namespace.
func (o *Own) inside(r delivery.Release) delivery.Release {
	env := *r.Env
	env.Namespace, env.Namespaces = o.namespace, nil
	env.Rollout = config.Rollout{Strategy: config.Rolling, Smoke: env.Rollout.Smoke}
	r.Env = &env
	return r
}

// placeNamespace adds the Namespace to a release where Own makes it, and leaves it out where it was there before.
func (o *Own) placeNamespace(r *Release) {
	isOwn := func(u *unstructured.Unstructured) bool {
		return u.GroupVersionKind().GroupKind() == plan.NamespaceKind && u.GetName() == o.namespace
	}
	if !o.made {
		r.Objects = slices.DeleteFunc(r.Objects, isOwn)
		return
	}
	i := slices.IndexFunc(r.Objects, isOwn)
	if i < 0 {
		r.Objects, i = slices.Insert(r.Objects, 0, newNamespace(o.namespace)), 0
	}
	labels := maps.Clone(r.Objects[i].GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[ownLabel] = "true"
	r.Objects[i].SetLabels(labels)
}

// Back goes back to what the namespace ran before the newest deploy.
func (o *Own) Back(ctx context.Context, env *delivery.Environment, user string) error {
	_, err := o.cluster.Rollback(ctx, App{Name: env.App, Namespace: o.namespace, User: user, PastJobs: true}, 0)
	return err
}

// Made reports whether the namespace is one that Own makes, and that Remove deletes.
func (o *Own) Made() bool { return o.made }

// Remove takes the app away again, and returns when it is gone: with the namespace where Own made it.
func (o *Own) Remove(ctx context.Context, env *delivery.Environment, user string) error {
	_, err := o.cluster.Uninstall(ctx, App{Name: env.App, Namespace: o.namespace, User: user, Rules: Rules{PruneNamespaces: o.made}})
	if err != nil || !o.made {
		return err
	}
	name := "Namespace/" + o.namespace
	now, err := o.cluster.kube.Get(ctx, plan.NamespaceKind.WithVersion("v1"), "", o.namespace)
	if err != nil || now == nil {
		return kube.Explain(name, err)
	}
	report.Waitf(ctx, name, "waiting until it is gone")
	return kube.Explain(name, o.cluster.kube.AwaitGone(ctx, now))
}

// workloads are those that were applied last.
func (o *Own) workloads() []*unstructured.Unstructured {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(o.objects), func(u *unstructured.Unstructured) bool { return !hasPods(u) })
}

// Workloads names the workloads that were applied last.
func (o *Own) Workloads() string {
	var names []string
	for _, u := range o.workloads() {
		names = append(names, plan.RefOf(u).In(o.namespace))
	}
	return strings.Join(names, " ")
}

// Logs follows the output of the pods of the workloads that were applied last, until ctx ends.
func (o *Own) Logs(ctx context.Context, options kube.LogOptions, emit func(kube.LogLine)) error {
	_, err := o.cluster.kube.Logs(ctx, o.workloads(), options, emit)
	return err
}

// Page is what answers for an app: a Service in front of pods.
type Page struct {
	Namespace, Service string
	selected           map[string]string
	port               any // of the pods: a number, or the name of a container's port
}

// Page returns the first Service that selects the pods of a Deployment, or nil.
func (o *Own) Page() *Page {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, service := range o.objects {
		for _, u := range o.objects {
			if u.GetKind() != plan.DeploymentKind.Kind || !traffic.Selects(service, u) {
				continue
			}
			p := &Page{Namespace: o.namespace, Service: service.GetName()}
			p.selected, _, _ = unstructured.NestedStringMap(service.Object, "spec", "selector")
			ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
			if len(ports) > 0 {
				first, _ := ports[0].(map[string]any)
				if p.port = first["targetPort"]; p.port == nil {
					p.port = first["port"]
				}
			}
			return p
		}
	}
	return nil
}

// answerInterval is how often a pod that is ready and does not answer is asked again.
const answerInterval = 100 * time.Millisecond

// awaitAnswer returns when a pod behind the page that runs an image, and is not one of those before, is ready and answers a
// request, whatever its status. Where this user may send none, a pod that is ready counts.
func (o *Own) awaitAnswer(ctx context.Context, p *Page, image string, before []types.UID) error {
	digest := ref.Read(image).Digest
	pod, err := o.cluster.kube.AwaitPod(ctx, p.Namespace, p.selected, func(pod *corev1.Pod) bool {
		return pod.DeletionTimestamp == nil && isReady(pod) && !slices.Contains(before, pod.UID) && slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
			return ref.Read(c.Image).Digest == digest
		})
	})
	if err != nil {
		return err
	}
	port := p.portOf(pod)
	for port != 0 {
		status, body, err := o.cluster.kube.PodProxy(ctx, p.Namespace, pod.Name, port, "/")
		forbidden := status == http.StatusForbidden && strings.Contains(string(body), "cannot get resource")
		if err == nil && (forbidden || status != http.StatusBadGateway && status != http.StatusServiceUnavailable) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(answerInterval):
		}
	}
	return nil
}

// Forward makes the page reachable from this machine until ctx ends, and returns its address, HOST:PORT: each connection goes to
// the newest pod that is ready. failed is told why one could not be made.
func (o *Own) Forward(ctx context.Context, p *Page, failed func(error)) (address string, err error) {
	return o.cluster.kube.Forward(ctx, func(ctx context.Context) (kube.Target, error) {
		pod, err := o.cluster.kube.AwaitPod(ctx, p.Namespace, p.selected, func(pod *corev1.Pod) bool {
			return pod.DeletionTimestamp == nil && isReady(pod)
		})
		if err != nil {
			return kube.Target{}, err
		}
		port := p.portOf(pod)
		if port == 0 {
			return kube.Target{}, fmt.Errorf("Pod/%s has no port %v, which Service/%s is for", pod.Name, p.port, p.Service)
		}
		return kube.Target{Namespace: p.Namespace, Pod: pod.Name, Port: port}, nil
	}, failed)
}

// portOf is the number of the page's port in a pod; 0 where the pod has none of this name.
func (p *Page) portOf(pod *corev1.Pod) int {
	switch port := p.port.(type) {
	case int64:
		return int(port)
	case string:
		for _, c := range pod.Spec.Containers {
			for _, named := range c.Ports {
				if named.Name == port {
					return int(named.ContainerPort)
				}
			}
		}
	}
	return 0
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// moveTo puts the objects of a namespace into another, with what refers to it: subjects of bindings, references of webhooks
// and routes, selectors of namespaces. It returns what names the old one in a text, which may mean it.
func moveTo(objects []*unstructured.Unstructured, from, to string) (texts []string) {
	for _, u := range objects {
		if u.GroupVersionKind().GroupKind() == plan.NamespaceKind && u.GetName() == from {
			u.SetName(to)
		}
		name := u.GetKind() + "/" + u.GetName()
		var found []string
		move(u.Object, from, to, &found)
		slices.Sort(found)
		for _, text := range slices.Compact(found) {
			texts = append(texts, fmt.Sprintf("%s names the namespace %s in %q", name, from, text))
		}
	}
	return texts
}

// move changes a part of an object. It adds to texts what has the old name in it.
func move(part any, from, to string, texts *[]string) {
	switch part := part.(type) {
	case map[string]any:
		for key, value := range part {
			if (key == "namespace" || key == corev1.LabelMetadataName) && value == from {
				part[key] = to
				continue
			}
			move(value, from, to, texts)
		}
	case []any:
		for _, value := range part {
			move(value, from, to, texts)
		}
	case string:
		if names(part, from) && len(part) < 200 {
			*texts = append(*texts, part)
		}
	}
}

// names reports whether a text has the host name of something in a namespace in it: web.NAMESPACE, web.NAMESPACE.svc:80.
func names(text, namespace string) bool {
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "."+namespace)
		if !found {
			return false
		}
		if after == "" || strings.ContainsRune(".:/ ,", rune(after[0])) {
			return true
		}
		rest = after
	}
}
