package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// Until returns when the operator has applied the commit, or a later one, and every pod of every workload with the image
// runs its digest and is ready. It fails at once with the operator's own error, or the pods' reasons, when that cannot
// happen any more; when ctx ends, it says what is still missing.
func Until(ctx context.Context, o Options) (*Result, error) {
	if o.Image == "" {
		return nil, fault.Usagef("wait needs the image that the pods must run: REPOSITORY@sha256:…")
	}
	if o.operatorTimeout == 0 {
		o.operatorTimeout = operatorTimeout
	}
	w := &waiter{
		Options: o, image: ref.Read(o.Image), began: time.Now(), graces: status.DefaultGraces,
		accepted: map[string]bool{}, firstSeen: map[string]time.Time{}, reported: map[string]string{},
	}
	if o.Grace > 0 {
		w.graces = status.AllGraces(o.Grace)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var err error
	if o.ArgoCDServer != "" {
		w.operator, w.world, err = openArgoServer(ctx, o)
	} else {
		w.operator, w.world, err = openCluster(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	defer w.world.close()
	if err := w.operator.request(ctx); err != nil {
		return nil, err
	}
	report.Progressf(ctx, w.operator.title(), "asked to look at the repository now")
	return w.run(ctx)
}

// operator is what applies the commit: an Application of Argo CD, a Kustomization of Flux.
type operator interface {
	// kind is ArgoCD or Flux.
	kind() string
	// title names its object for messages: "Application argocd/vote-dev".
	title() string
	// name is NAMESPACE/NAME.
	name() string
	// request asks it to look at the repository now.
	request(context.Context) error
	// sync asks it to apply, where it does not by itself.
	sync(ctx context.Context, revision string) error
	// judge reads how far it has come. Accepts tells whether a revision is, or contains, the commit.
	judge(w world, accepts func(revision string) bool) verdict
}

// verdict is how far an operator has come.
type verdict struct {
	applied   bool
	revision  string      // the one that it has, or is at
	message   string      // a few words
	workloads []objectRef // what it has applied, as far as it runs pods
	wantsSync bool        // it will not go on unless it is asked to
	err       error       // why it cannot go on
	heals     bool        // err may go away; it counts when it stays
}

// objectRef names an object in the cluster.
type objectRef struct{ group, version, kind, namespace, name string }

// String is KIND/NAMESPACE/NAME.
func (r objectRef) String() string { return r.kind + "/" + r.namespace + "/" + r.name }

// world is what can be seen of the cluster.
type world interface {
	// follow begins to watch objects and the pods in their namespaces; those followed already cost nothing.
	follow(context.Context, []objectRef) error
	// object is one as it was last seen; nil when it is not there.
	object(objectRef) *unstructured.Unstructured
	// around is what stands around the objects in a namespace; events since a time only.
	around(namespace string, since time.Time) *status.World
	// changed is signalled after changes.
	changed() <-chan struct{}
	// failed is why watching cannot go on, or nil.
	failed() error
	close()
}

// waiter is one run of Wait.
type waiter struct {
	Options
	operator operator
	world    world
	image    ref.Ref
	began    time.Time
	graces   status.Graces

	synced    bool // asked for
	accepted  map[string]bool
	firstSeen map[string]time.Time // of problems that may heal
	reported  map[string]string
	missing   []string // what the last look found missing
}

// run looks at everything after each change, and when a grace may have ended.
func (w *waiter) run(ctx context.Context) (*Result, error) {
	for {
		result, err := w.look(ctx)
		if result != nil || err != nil {
			return result, err
		}
		// Watches tell what changes; only the end of a grace makes no noise.
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%s does not run %s in time (%w): %s", w.operator.title(), w.what(), context.Cause(ctx), strings.Join(w.missing, "; "))
		case <-w.world.changed():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// what is the image's digest, for messages; the image when it has none.
func (w *waiter) what() string { return cmp.Or(w.image.Digest, w.Image) }

// look returns the result when all is done, an error when it cannot be any more, and neither as long as it may.
func (w *waiter) look(ctx context.Context) (*Result, error) {
	if err := w.world.failed(); err != nil {
		return nil, err
	}
	v := w.operator.judge(w.world, func(revision string) bool { return w.accepts(ctx, revision) })
	w.tell(ctx, w.operator.title(), v.message)
	w.missing = []string{v.message}
	if v.err != nil {
		if !v.heals || w.stays("operator: "+v.err.Error(), w.graces.Pull) {
			return nil, fmt.Errorf("%s: %w", w.operator.title(), v.err)
		}
		w.missing = append(w.missing, v.err.Error())
		return nil, nil
	}
	if v.wantsSync {
		if !w.Sync {
			return nil, fmt.Errorf("%s is not synced automatically: sync it in Argo CD, or pass --sync", w.operator.title())
		}
		if !w.synced {
			w.synced = true
			return nil, w.operator.sync(ctx, v.revision)
		}
		return nil, nil
	}
	if len(v.workloads) == 0 && !v.applied {
		return nil, nil
	}
	if err := w.world.follow(ctx, v.workloads); err != nil {
		return nil, err
	}
	objects, err := w.workloads(ctx, v)
	if err != nil {
		return nil, err
	}
	done := v.applied && len(objects) > 0
	for _, o := range objects {
		if !o.Ready {
			done = false
			w.missing = append(w.missing, o.Ref+": "+o.Message)
		}
	}
	if !done {
		return nil, nil
	}
	return &Result{Operator: w.operator.kind(), Name: w.operator.name(), Revision: v.revision, Objects: objects}, nil
}

// workloads looks at those that have the image.
func (w *waiter) workloads(ctx context.Context, v verdict) ([]Object, error) {
	var objects []Object
	var others []string
	unseen := 0
	for _, r := range v.workloads {
		object := w.world.object(r)
		if object == nil {
			unseen++
			continue
		}
		images := manifest.ContainerImages(object.Object)
		others = append(others, images...)
		if !slices.ContainsFunc(images, w.concerns) {
			continue
		}
		o, err := w.workload(r, object, images)
		if err != nil {
			return nil, err
		}
		w.tell(ctx, o.Ref, o.Message)
		objects = append(objects, o)
	}
	if v.applied && unseen > 0 && unseen == len(v.workloads) && w.stays("workloads unseen", 10*time.Second) {
		return nil, fmt.Errorf("%s applied the commit, and none of its workloads is in this cluster: if it deploys to another one, go through Argo CD's API, which sees it",
			w.operator.title())
	}
	if v.applied && len(objects) == 0 && unseen == 0 {
		slices.Sort(others)
		err := fmt.Errorf("%s applied the commit, and no workload of it runs %s; they run %s: is it the right Application, and did the bump reach its path?",
			w.operator.title(), w.image.Repository, cmp.Or(strings.Join(slices.Compact(others), ", "), "nothing"))
		if w.stays("no workload", 5*time.Second) {
			return nil, err
		}
		w.missing = append(w.missing, err.Error())
	}
	slices.SortFunc(objects, func(a, b Object) int { return cmp.Compare(a.Ref, b.Ref) })
	return objects, nil
}

// workload says how far one is. What its pods suffer from counts only once it is the new revision that they are of.
func (w *waiter) workload(r objectRef, object *unstructured.Unstructured, images []string) (Object, error) {
	o := Object{Ref: r.String()}
	for _, image := range images {
		if w.concerns(image) && !w.runs(image) {
			o.Message = "still has " + image
			return o, nil
		}
	}
	around := w.world.around(r.namespace, w.began)
	around.Graces = w.graces
	s := status.Of(object, around)
	o.Message = s.Message
	for i, p := range s.Problems {
		where := ""
		if p.Pod != "" {
			where = "pod " + p.Pod + ": "
			if p.Container != "" {
				where = fmt.Sprintf("container %s of pod %s: ", p.Container, p.Pod)
			}
		}
		if i == 0 {
			o.Message = where + p.Message
		}
		switch {
		case p.Heals == status.Never, p.Heals == status.Perhaps && w.stays(o.Ref+p.Key(), p.Grace):
			o.Message = where + p.Message
			return o, fmt.Errorf("%s: %s", o.Ref, o.Message)
		}
	}
	if !s.Ready {
		return o, nil
	}
	running, wanted, foreign := w.podsOf(object, around.Pods)
	switch {
	case foreign != "":
		o.Message = foreign
	case running < wanted:
		o.Message = fmt.Sprintf("%d of %d pods run %s", running, wanted, w.what())
	default:
		o.Ready, o.Message = true, s.Message
		if wanted > 0 {
			o.Message = fmt.Sprintf("%d of %d pods run %s", running, wanted, w.what())
		}
	}
	return o, nil
}

// podsOf counts the pods of a workload that run the image and are ready, and those that should be. Foreign says that
// one runs another image under the same name.
func (w *waiter) podsOf(object *unstructured.Unstructured, pods []*corev1.Pod) (running, wanted int, foreign string) {
	matchLabels, found, _ := unstructured.NestedStringMap(object.Object, "spec", "selector", "matchLabels")
	if !found {
		return 0, 0, ""
	}
	selector := labels.SelectorFromSet(matchLabels)
	for _, pod := range pods {
		if pod.Namespace != object.GetNamespace() || pod.DeletionTimestamp != nil || !selector.Matches(labels.Set(pod.Labels)) ||
			pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		has := false
		for _, c := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
			switch {
			case w.runs(c.Image):
				has = true
			case w.concerns(c.Image):
				return 0, 0, fmt.Sprintf("pod %s runs %s", pod.Name, c.Image)
			}
		}
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if has && ready {
			running++
		}
	}
	wanted = 1
	if replicas, found, _ := unstructured.NestedInt64(object.Object, "spec", "replicas"); found {
		wanted = int(replicas)
	}
	if object.GetKind() == "DaemonSet" {
		scheduled, _, _ := unstructured.NestedInt64(object.Object, "status", "desiredNumberScheduled")
		wanted = int(scheduled)
	}
	return running, wanted, ""
}

// concerns tells whether an image in the cluster is the one to wait for, in whatever version.
func (w *waiter) concerns(image string) bool {
	return w.runs(image) || ref.Read(image).SameRepository(w.image)
}

// runs tells whether an image in the cluster is the very one to wait for.
func (w *waiter) runs(image string) bool {
	if w.image.Digest == "" {
		return image == w.Image
	}
	return ref.Read(image).Digest == w.image.Digest
}

// accepts tells whether a revision is the commit or has it in its history.
func (w *waiter) accepts(ctx context.Context, revision string) bool {
	if revision == "" {
		return false
	}
	if w.Commit == "" || strings.HasPrefix(revision, w.Commit) {
		return true
	}
	known, found := w.accepted[revision]
	if found {
		return known
	}
	accepted := true // nobody can tell: the pods' digest decides
	if w.Contains != nil {
		contains, err := w.Contains(ctx, revision, w.Commit)
		if err != nil {
			report.Warn(ctx, "cannot tell whether revision %.10s contains commit %.10s (%v): the digest of the pods decides", revision, w.Commit, err)
		}
		accepted = contains || err != nil
	}
	w.accepted[revision] = accepted
	return accepted
}

// stays tells whether a problem has been there for its grace.
func (w *waiter) stays(key string, grace time.Duration) bool {
	since, found := w.firstSeen[key]
	if !found {
		since = time.Now()
		w.firstSeen[key] = since
	}
	return time.Since(since) >= grace
}

// tell reports a message about an object once.
func (w *waiter) tell(ctx context.Context, object, message string) {
	if message != "" && w.reported[object] != message {
		w.reported[object] = message
		report.Progressf(ctx, object, "%s", message)
	}
}

// runsPods tells whether objects of a kind run pods, as far as is known.
func runsPods(group, kind string) bool {
	switch group {
	case "apps":
		return kind == "Deployment" || kind == "StatefulSet" || kind == "DaemonSet" || kind == "ReplicaSet"
	case "batch":
		return kind == "Job" || kind == "CronJob"
	case "argoproj.io":
		return kind == "Rollout"
	case "":
		return kind == "Pod"
	}
	return false
}

// samePath tells whether two paths in a repository are one.
func samePath(a, b string) bool { return plainPath(a) == plainPath(b) }

func plainPath(p string) string {
	return strings.Trim(strings.TrimPrefix(strings.Trim(p, "/"), "./"), "./")
}

// condition returns a condition of an object.
func condition(o *unstructured.Unstructured, kind string) (c metav1.Condition, found bool) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		fields, _ := item.(map[string]any)
		if fields["type"] != kind {
			continue
		}
		get := func(key string) string { s, _ := fields[key].(string); return s }
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(get("status")), Reason: get("reason"), Message: get("message")}, true
	}
	return metav1.Condition{}, false
}

// field reads a string of an object.
func field(o *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}
