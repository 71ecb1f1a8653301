package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/kube/diff"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// Annotations that say where an object comes from. They are written when an object changes anyway, and are no change
// themselves: the next run has another URL.
const (
	annotationPrefix   = "aksflow.dev/"
	annotationRevision = annotationPrefix + "source-revision"
	annotationRun      = annotationPrefix + "run-url"
	annotationImage    = annotationPrefix + "image"
)

// maxObject is etcd's limit for a request, in bytes, with room for what the server adds.
const maxObject = 1_500_000

var (
	deploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	jobKind        = schema.GroupKind{Group: "batch", Kind: "Job"}
	appName        = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	nsName         = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	nsObject       = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
)

// step is what a deploy does to one object.
type step struct {
	object *unstructured.Unstructured // what is applied
	live   *unstructured.Unstructured // nil: it is created
	merged *unstructured.Unstructured // live with object applied; nil when that could not be tried
	status string                     // Created, Configured, Unchanged

	recreate bool
	// autoscaled says that an autoscaler, which is there already, sets the number of its pods.
	autoscaled bool
}

func (s step) ref() plan.Ref { return plan.RefOf(s.object) }

// check is what can be said about a release without asking the cluster.
func (r *Release) check() error {
	var errs []error
	if !appName.MatchString(r.App) {
		errs = append(errs, fmt.Errorf("%q is not a name for an app: lower-case letters, digits and dashes, at most 40", r.App))
	}
	if !nsName.MatchString(r.Namespace) {
		errs = append(errs, fmt.Errorf("%q is not a name for a namespace", r.Namespace))
	}
	if len(r.Objects) == 0 {
		errs = append(errs, errors.New("nothing to deploy: no manifests"))
	}
	for _, o := range r.Objects {
		data, err := o.MarshalJSON()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", o.GetKind(), o.GetName(), err))
		} else if len(data) > maxObject {
			errs = append(errs, fmt.Errorf("%s/%s is too large for the API server (%d bytes, and it takes about %d): split it, or keep the data outside the cluster", o.GetKind(), o.GetName(), len(data), maxObject))
		}
	}
	if err := r.Strategy.check(); err != nil {
		errs = append(errs, err)
	}
	return fault.Usage(errors.Join(errs...))
}

// normalize is plan.Normalize against this cluster.
func (c *Cluster) normalize(ctx context.Context, r *Release) ([]*unstructured.Unstructured, error) {
	namespaces := append([]string{r.Namespace}, r.Namespaces...)
	objects, err := plan.Normalize(r.Objects, namespaces, c.scope(ctx))
	return objects, fault.Usage(err)
}

// A dry run takes as long as the apply it stands for. Of up to tryAll new objects each one is tried, so that nothing is
// applied when one is refused. Of more of them, tried of each kind in each namespace are: an error in a manifest, or a
// missing permission, is nearly always found by then, and if a later one is refused after all, what was applied is
// removed again.
const (
	tryAll = 200
	tried  = 10
)

// prepare finds out what to do to each object. What the API server would refuse is found by a dry run and returned
// together, before anything is applied.
func (c *Cluster) prepare(ctx context.Context, r *Release, objects []*unstructured.Unstructured, l *live) ([]step, error) {
	scaled, err := c.leaveToAutoscalers(ctx, r, objects, l)
	if err != nil {
		return nil, err
	}
	steps := make([]step, len(objects))
	var mu sync.Mutex
	var refused []error
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	fresh := 0
	for _, o := range objects {
		if l.objects[plan.RefOf(o)] == nil {
			fresh++
		}
	}
	created := map[place]int{}
	for i, o := range objects {
		now := l.objects[plan.RefOf(o)]
		if now == nil {
			at := place{o.GroupVersionKind(), o.GetNamespace()}
			if created[at]++; fresh > tryAll && created[at] > tried {
				trace(o, r)
				steps[i] = step{object: o, status: Created}
				continue
			}
		}
		group.Go(func() error {
			s, err := c.prepareOne(ctx, r, o, now)
			s.autoscaled = scaled[plan.RefOf(o)]
			steps[i] = s
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				mu.Lock()
				refused = append(refused, explain(plan.RefOf(o).In(r.Namespace), err))
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(refused, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return steps, errors.Join(refused...)
}

func (c *Cluster) prepareOne(ctx context.Context, r *Release, o, now *unstructured.Unstructured) (step, error) {
	s := step{object: o, live: now, status: Configured}
	if now == nil {
		s.status = Created
	} else {
		if plan.UpToDate(now, o, Manager, annotationPrefix) {
			s.status, s.merged = Unchanged, now
			return s, nil
		}
		keepAnnotations(o, now)
	}
	merged, err := c.apply(ctx, o, applyOptions{force: r.ForceConflicts, dryRun: true})
	switch {
	case err == nil:
		s.merged = merged
		if now != nil && diff.Equal(now, merged) {
			s.status = Unchanged
			return s, nil
		}
	case now != nil && needsRecreation(err) && (r.Recreate || finishedJob(now)):
		s.recreate = true
		if _, stays, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas"); !stays {
			if replicas, found, _ := unstructured.NestedInt64(now.Object, "spec", "replicas"); found {
				_ = unstructured.SetNestedField(o.Object, replicas, "spec", "replicas") // nobody else remembers it
			}
		}
	case now == nil && isNotYet(err):
		// Its namespace or its kind comes with this deploy.
	default:
		return s, err
	}
	trace(o, r)
	return s, nil
}

// isNotYet says that an apply failed because what it needs is not there yet.
func isNotYet(err error) bool {
	var unknown *meta.NoKindMatchError
	return apierrors.IsNotFound(err) || errors.As(err, &unknown)
}

// trace annotates an object with where it comes from.
func trace(o *unstructured.Unstructured, r *Release) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for key, value := range map[string]string{annotationRevision: r.SourceRevision, annotationRun: r.RunURL, annotationImage: r.Image} {
		if delete(annotations, key); value != "" {
			annotations[key] = value
		}
	}
	if len(annotations) > 0 {
		o.SetAnnotations(annotations)
	}
}

// untrace removes what trace wrote.
func untrace(o *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	for key := range annotations {
		if strings.HasPrefix(key, annotationPrefix) {
			delete(annotations, key)
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	o.SetAnnotations(annotations)
}

// keepAnnotations copies what an earlier trace wrote, so that it does not count as a change.
func keepAnnotations(o, now *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	for key, value := range now.GetAnnotations() {
		if strings.HasPrefix(key, annotationPrefix) {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = value
		}
	}
	if annotations != nil {
		o.SetAnnotations(annotations)
	}
}

// finishedJob says that a Job has run. Its pod template cannot be changed, and a new version of a migration is a new
// run, so that it is replaced without being asked.
func finishedJob(o *unstructured.Unstructured) bool {
	if o.GroupVersionKind().GroupKind() != jobKind {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True" {
			return true
		}
	}
	return false
}
