package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// transaction is one deploy. It keeps a journal, so that everything it did can be undone. It implements rollout.Applier.
type transaction struct {
	cluster *Cluster
	release Release

	set       *kube.ApplySet
	revisions []kube.Revision
	revision  kube.Revision // this one; Number is 0 until it is recorded
	killed    int           // the revision whose deploy was killed, if that was the last one; else 0
	live      *kube.Live
	before    *status.Baseline             // the cluster before anything was applied
	objects   []*unstructured.Unstructured // the release's, with their namespaces

	hookObjects []*unstructured.Unstructured // those of the release, for whatever event
	uninstalls  bool
	manifests   string // the digest of the release's objects

	waiting sync.Mutex // for the workloads, on behalf of webhooks

	mu      sync.Mutex
	order   []plan.Ref
	results map[plan.Ref]ObjectResult
	applied map[plan.Ref]*unstructured.Unstructured // as the server returned them
	// finished are Jobs that were seen to complete. Their ttlSecondsAfterFinished may remove them at any time.
	finished map[plan.Ref]bool
	journal  []entry
	result   Result
}

// entry is one object that a transaction has touched, or was about to.
type entry struct {
	ref    plan.Ref
	object *unstructured.Unstructured // enough of it to find it again
	before *unstructured.Unstructured // nil: it did not exist
	// autoscaled means that the number of its pods is not put back.
	autoscaled bool
	// replicaSets are those that a Deployment had, by their uid.
	replicaSets map[types.UID]appsv1.ReplicaSet
}

// defaultHistory is how many revisions are kept.
const defaultHistory = 10

func (c *Cluster) begin(r Release) *transaction {
	if r.User == "" {
		r.User = kube.Manager
	}
	if r.History == 0 {
		r.History = defaultHistory
	}
	return &transaction{
		cluster: c, release: r,
		results: map[plan.Ref]ObjectResult{}, applied: map[plan.Ref]*unstructured.Unstructured{}, finished: map[plan.Ref]bool{},
	}
}

// recordResult keeps what became of an object.
func (t *transaction) recordResult(ref plan.Ref, status, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.results[ref]; !ok {
		t.order = append(t.order, ref)
	}
	t.results[ref] = ObjectResult{Ref: ref.In(t.release.Namespace), Status: status, Message: message}
}

// recordUnchanged keeps an earlier result: a namespace that was created first is unchanged afterwards.
func (t *transaction) recordUnchanged(ref plan.Ref) {
	t.mu.Lock()
	_, known := t.results[ref]
	t.mu.Unlock()
	if !known {
		t.recordResult(ref, Unchanged, "")
	}
}

// outcome returns the result. err is how the transaction ended.
func (t *transaction) outcome(err error) *Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	result := t.result
	result.Objects = make([]ObjectResult, 0, len(t.order))
	for _, ref := range t.order {
		result.Objects = append(result.Objects, t.results[ref])
	}
	var failed *watch.RolloutError
	if errors.As(err, &failed) {
		result.Failures = failed.Failures
	}
	return &result
}

// Applied implements rollout.Applier.
func (t *transaction) Applied(ref plan.Ref) *unstructured.Unstructured {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.applied[ref]
}

func (t *transaction) setApplied(o *unstructured.Unstructured) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applied[plan.RefOf(o)] = o
}

// AppliedObjects implements rollout.Applier. Jobs that have completed are left out.
func (t *transaction) AppliedObjects() []*unstructured.Unstructured {
	t.mu.Lock()
	defer t.mu.Unlock()
	objects := make([]*unstructured.Unstructured, 0, len(t.applied))
	for _, ref := range t.order {
		if o := t.applied[ref]; o != nil && !t.finished[ref] {
			objects = append(objects, o)
		}
	}
	return objects
}

// watchOptions says how to wait for the release's objects.
func (t *transaction) watchOptions() watch.Options {
	r := &t.release
	o := watch.Options{Namespace: r.Namespace, Grace: r.Grace, Before: t.before, Release: t.objects}
	if r.Published {
		o.Published = map[string]bool{r.Image: true}
	}
	return o
}

// mark notes what the release's namespaces hold at this moment. What happened before proves nothing about what follows.
func (t *transaction) mark(ctx context.Context, live ...*unstructured.Unstructured) (err error) {
	var namespaces []string
	for _, name := range append([]string{t.release.Namespace}, t.release.Namespaces...) {
		if name != "" {
			namespaces = append(namespaces, name)
		}
	}
	t.before, err = watch.TakeBaseline(ctx, t.cluster.kube, namespaces, live...)
	return err
}

// exclusively runs do under the app's lock. The namespace that the lock is in may have to be created first.
func (t *transaction) exclusively(ctx context.Context, do func(context.Context, []*unstructured.Unstructured) error) error {
	c, r := t.cluster, &t.release
	if err := r.check(); err != nil {
		return err
	}
	objects, err := c.normalize(ctx, r)
	if err != nil {
		return err
	}
	t.manifests = digest(r.Objects)
	objects, t.hookObjects = separate(objects)
	t.set = kube.NewApplySet(r.App, r.Namespace)
	t.set.Label(objects)
	t.objects = objects
	if err := t.ensureNamespaces(ctx, objects); err != nil {
		return err
	}
	locked, unlock, err := c.kube.Lock(ctx, r.App, r.Namespace, r.User)
	if err != nil {
		return t.undo(ctx, err)
	}
	defer unlock()
	if err := t.mark(locked); err != nil {
		return t.undo(ctx, err)
	}
	if t.revisions, err = c.kube.History(locked, r.App, r.Namespace); err != nil {
		return t.undo(ctx, err)
	}
	if now := kube.Latest(t.revisions, kube.RevisionDeployed); now != nil {
		t.result.Revision = now.Number
	}
	if err := t.closeKilled(locked); err != nil {
		return t.undo(ctx, err)
	}
	return do(locked, objects)
}

// closeKilled closes the records of deploys that were killed. Under the lock no other deploy is under way.
func (t *transaction) closeKilled(ctx context.Context) error {
	for i := range t.revisions {
		old := &t.revisions[i]
		if old.Status != kube.RevisionPending {
			continue
		}
		old.Status, old.Message = kube.RevisionFailed, "its deploy was killed, or lost its connection for good"
		if err := t.cluster.kube.WriteRevision(ctx, t.release.App, t.release.Namespace, old, nil); err != nil {
			return err
		}
		if i == 0 {
			t.killed = old.Number
			report.Info(ctx, "the deploy of revision %d was killed: this one takes up from what it left", old.Number)
		}
	}
	return nil
}

// ensureNamespaces creates the namespaces that are among the objects and do not exist yet, so that there is a place for
// the lock, and so that everything else can be tried before it is applied.
func (t *transaction) ensureNamespaces(ctx context.Context, objects []*unstructured.Unstructured) error {
	r := &t.release
	for _, name := range append([]string{r.Namespace}, r.Namespaces...) {
		now, err := t.cluster.kube.Get(ctx, plan.NamespaceKind.WithVersion("v1"), "", name)
		if err != nil {
			return kube.Explain("Namespace/"+name, err)
		}
		if now != nil && now.GetDeletionTimestamp() != nil {
			return fmt.Errorf("the namespace %s is being deleted: wait until it is gone, or use another", name)
		}
		if now != nil {
			continue
		}
		i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
			return o.GroupVersionKind().GroupKind() == plan.NamespaceKind && o.GetName() == name
		})
		if i < 0 && r.MakeNamespaces {
			if _, err := t.cluster.kube.Apply(ctx, newNamespace(name), kube.ApplyOptions{}); err != nil {
				return kube.Explain("Namespace/"+name, err)
			}
			report.Donef(ctx, "Namespace/"+name, "%s", plan.Created)
			continue
		}
		if i < 0 {
			return fault.Usagef("there is no namespace %s: add a Namespace to the manifests, or create it first", name)
		}
		if err := t.undo(ctx, t.ApplyOne(ctx, plan.Change{Object: objects[i], Action: plan.Created})); err != nil {
			return err
		}
	}
	return nil
}

// newNamespace is a Namespace of a name.
func newNamespace(name string) *unstructured.Unstructured {
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(plan.NamespaceKind.WithVersion("v1"))
	namespace.SetName(name)
	return namespace
}

// undo puts back what was done so far if err is set.
func (t *transaction) undo(ctx context.Context, err error) error {
	if err == nil || len(t.journal) == 0 {
		return err
	}
	return errors.Join(err, t.restore(ctx))
}

// survey reads what the cluster has and finds out what to do to each object.
func (t *transaction) survey(ctx context.Context, objects []*unstructured.Unstructured) ([]plan.Change, error) {
	c := t.cluster.kube
	err := c.ReadApplySet(ctx, t.set)
	if err != nil {
		return nil, err
	}
	if t.live, err = c.ReadLive(ctx, objects, t.set); err != nil {
		return nil, err
	}
	if t.before != nil {
		watch.SetObjects(t.before, slices.Collect(maps.Values(t.live.Objects)))
	}
	if err := t.refuseForeign(ctx, objects); err != nil {
		return nil, err
	}
	changes, err := t.cluster.prepare(ctx, &t.release, objects, t.live)
	if err != nil {
		return nil, err
	}
	return changes, t.keepFinishedJobs(ctx, changes)
}

// isShared reports whether an object is a Namespace or a CustomResourceDefinition of another app that has all that this release wants
// of it. Several apps need the same one, and each may bring it. It stays the other's, and is left as it is.
func isShared(l *kube.Live, o *unstructured.Unstructured) bool {
	kind := o.GroupVersionKind().GroupKind()
	now := l.Objects[plan.RefOf(o)]
	if kind != plan.NamespaceKind && kind != plan.DefinitionKind || now == nil || now.GetDeletionTimestamp() != nil {
		return false
	}
	owner := now.GetLabels()[kube.PartOf]
	return owner != "" && owner != o.GetLabels()[kube.PartOf] && plan.Contains(now, o, kube.PartOf)
}

// refuseForeign returns an error if objects of the release belong to another app.
func (t *transaction) refuseForeign(ctx context.Context, objects []*unstructured.Unstructured) error {
	var errs []error
	own, _ := partition(objects, func(o *unstructured.Unstructured) bool { return !isShared(t.live, o) })
	for ref, id := range t.live.Foreign(own, t.set) {
		name := "namespace " + ref.Namespace
		if ref.Namespace == "" {
			name = "the cluster"
		}
		errs = append(errs, fmt.Errorf("%s in %s belongs to %s: remove it from the manifests of one of the two; what the other app does not need any more is released with `kubectl label %s %s %s-`",
			ref, name, t.cluster.kube.OwnerOf(ctx, id, t.release.Namespace), kubectlKind(ref), kubectlName(ref), kube.PartOf))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// kubectlKind is a kind as kubectl takes it: deployment.apps.
func kubectlKind(ref plan.Ref) string {
	return strings.ToLower(strings.TrimSuffix(ref.Kind+"."+ref.Group, "."))
}

func kubectlName(ref plan.Ref) string {
	if ref.Namespace == "" {
		return ref.Name
	}
	return ref.Name + " -n " + ref.Namespace
}

// keepFinishedJobs leaves Jobs alone that the revision that runs has completed, and that their ttlSecondsAfterFinished has
// removed since: applying one again would run it again.
func (t *transaction) keepFinishedJobs(ctx context.Context, changes []plan.Change) error {
	isGone := func(c plan.Change) bool {
		_, found, _ := unstructured.NestedFieldNoCopy(c.Object.Object, "spec", "ttlSecondsAfterFinished")
		return c.Ref().GroupKind() == plan.JobKind && c.Live == nil && found
	}
	if !slices.ContainsFunc(changes, isGone) {
		return nil
	}
	c, r := t.cluster.kube, &t.release
	var err error
	if t.revisions == nil {
		if t.revisions, err = c.History(ctx, r.App, r.Namespace); err != nil {
			return err
		}
	}
	now := kube.Latest(t.revisions, kube.RevisionDeployed)
	if now == nil {
		return nil
	}
	recorded, err := c.ReadObjects(ctx, r.App, r.Namespace, now)
	if err != nil {
		return err
	}
	for i, change := range changes {
		if !isGone(change) {
			continue
		}
		for _, was := range recorded {
			if plan.RefOf(was) == change.Ref() && equality.Semantic.DeepEqual(was.Object["spec"], change.Object.Object["spec"]) {
				changes[i].Action, changes[i].Leaving = plan.Unchanged, nil
			}
		}
	}
	return nil
}

// Apply implements rollout.Applier: it carries out changes, one wave and stage after the other.
func (t *transaction) Apply(ctx context.Context, changes []plan.Change) error {
	byRef := make(map[plan.Ref]plan.Change, len(changes))
	for _, change := range changes {
		byRef[change.Ref()] = change
	}
	groups := plan.Groups(plan.Objects(changes))
	for i, stage := range groups {
		if i > 0 && stage.Wave != groups[i-1].Wave {
			if err := watch.Await(ctx, t.cluster.kube, t.AppliedObjects(), t.watchOptions()); err != nil {
				return err
			}
		}
		group, together := errgroup.WithContext(ctx)
		group.SetLimit(kube.Parallel)
		for _, o := range stage.Objects {
			change := byRef[plan.RefOf(o)]
			if change.Action == plan.Unchanged {
				t.keepUnchanged(change)
				continue
			}
			group.Go(func() error { return t.ApplyOne(together, change) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if err := t.awaitStage(ctx, stage, inWave(changes, stage.Wave)); err != nil {
			return err
		}
	}
	return nil
}

func inWave(changes []plan.Change, wave int) []plan.Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c plan.Change) bool {
		other, _ := plan.WaveOf(c.Object)
		return other != wave
	})
}

// keepUnchanged notes an object that is as it should be.
func (t *transaction) keepUnchanged(change plan.Change) {
	if change.Live == nil { // a Job that has run and is gone
		t.recordResult(change.Ref(), Unchanged, "it has run, and its ttlSecondsAfterFinished removed it")
		return
	}
	t.setApplied(change.Live)
	t.recordUnchanged(change.Ref())
}

// jobHeadStart is how long the Jobs of a first deploy may run before the workloads are applied too. A migration is done by
// then, and a Job that needs the app would never be.
const jobHeadStart = 10 * time.Second

// awaitStage waits for a stage whose objects the next stages need. changes are those of its wave.
func (t *transaction) awaitStage(ctx context.Context, stage plan.Group, changes []plan.Change) error {
	hasJobs := slices.ContainsFunc(changes, func(c plan.Change) bool {
		return c.Ref().GroupKind() == plan.JobKind && c.Action != plan.Unchanged
	})
	if stage.Stage != plan.Definitions && (!hasJobs || stage.Stage != plan.Data && stage.Stage != plan.Jobs) {
		return nil
	}
	var objects []*unstructured.Unstructured
	for _, o := range stage.Objects {
		if applied := t.Applied(plan.RefOf(o)); applied != nil {
			objects = append(objects, applied)
		}
	}
	limited, cancel := ctx, func() {}
	if stage.Stage == plan.Jobs && isFirst(changes) {
		limited, cancel = context.WithTimeout(ctx, jobHeadStart)
	}
	defer cancel()
	err := watch.Await(limited, t.cluster.kube, objects, t.watchOptions())
	switch {
	case err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded):
		report.Info(ctx, "the Jobs are not complete after %s: applying the workloads, which they may need", report.Span(jobHeadStart))
		return nil
	case err != nil:
		return err
	case stage.Stage == plan.Definitions:
		t.cluster.kube.ForgetKinds(ctx)
	case stage.Stage == plan.Jobs:
		t.mu.Lock()
		for _, o := range objects {
			t.finished[plan.RefOf(o)] = true
		}
		t.mu.Unlock()
	}
	return nil
}

// isFirst reports whether none of the workloads among changes runs yet, and there are some.
func isFirst(changes []plan.Change) bool {
	workloads := slices.DeleteFunc(slices.Clone(changes), func(c plan.Change) bool {
		return plan.StageOf(c.Ref().GroupKind()) != plan.Workloads
	})
	return len(workloads) > 0 && !slices.ContainsFunc(workloads, func(c plan.Change) bool { return c.Live != nil })
}

func (t *transaction) applyAndAwait(ctx context.Context, changes []plan.Change) error {
	if err := t.Apply(ctx, changes); err != nil {
		return err
	}
	return watch.Await(ctx, t.cluster.kube, t.AppliedObjects(), t.watchOptions())
}

// ApplyOne implements rollout.Applier: it carries out one change.
func (t *transaction) ApplyOne(ctx context.Context, change plan.Change) error {
	name := change.Ref().In(t.release.Namespace)
	if change.Leaving != nil {
		report.Waitf(ctx, name, "waiting until the one that is being deleted is gone")
		if err := t.cluster.kube.AwaitGone(ctx, change.Leaving); err != nil {
			err = kube.Explain(name, err)
			t.recordResult(change.Ref(), Failed, err.Error())
			return err
		}
	}
	touched := entry{ref: change.Ref(), object: change.Object, before: change.Live, autoscaled: change.Autoscaled}
	if change.Live != nil && touched.ref.GroupKind() == plan.DeploymentKind && !t.release.NoRollback {
		var err error
		if touched.replicaSets, err = t.cluster.kube.ReplicaSets(ctx, change.Live); err != nil {
			return kube.Explain("the ReplicaSets of "+name, err)
		}
	}
	t.mu.Lock()
	// Before the request, for the answer may be lost.
	t.journal = append(t.journal, touched)
	t.mu.Unlock()

	applied, err := t.send(ctx, change)
	if err != nil {
		err = kube.Explain(name, err)
		t.recordResult(touched.ref, Failed, err.Error())
		return err
	}
	t.setApplied(applied)
	t.recordResult(touched.ref, string(change.Action), "")
	report.Donef(ctx, name, "%s", change.Action)
	return nil
}

// send applies one object, without what the cluster refuses for a reason that is not the manifests' fault.
func (t *transaction) send(ctx context.Context, change plan.Change) (*unstructured.Unstructured, error) {
	c, name := t.cluster.kube, change.Ref().In(t.release.Namespace)
	if change.Adopts {
		if err := c.Adopt(ctx, change.Live, change.Defaults); err != nil {
			return nil, err
		}
	}
	object := change.Object
	var applied *unstructured.Unstructured
	err := t.afterWebhook(ctx, name, func() (err error) {
		applied, err = t.sendOnce(ctx, change, object)
		return err
	})
	if change.Autoscaled && scaledMeanwhile(err) {
		object = object.DeepCopy()
		unstructured.RemoveNestedField(object.Object, "spec", "replicas")
		applied, err = t.sendOnce(ctx, change, object)
	}
	if err != nil && refusesAnnotations(err) {
		bare := object.DeepCopy()
		untrace(bare)
		report.Warn(ctx, "%s is deployed without the annotations that say where it comes from: %v", name, kube.Explain("they", err))
		applied, err = t.sendOnce(ctx, change, bare)
	}
	return applied, err
}

const (
	// definitionLimit is how long the API server may take to serve a kind, or a field, after its definition was applied.
	definitionLimit = 15 * time.Second
	definitionRetry = 250 * time.Millisecond
)

// sendOnce applies one object as it is. It waits for the API server if the release itself defines the object's kind.
func (t *transaction) sendOnce(ctx context.Context, change plan.Change, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	c, options := t.cluster.kube, kube.ApplyOptions{Force: t.release.ForceConflicts}
	_, defined := plan.DefinedKinds(t.objects)[o.GroupVersionKind().GroupKind()]
	for began := time.Now(); ; {
		applied, err := func() (*unstructured.Unstructured, error) {
			if change.Recreate {
				return c.Recreate(ctx, change.Live, o, options)
			}
			applied, err := c.Apply(ctx, o, options)
			if change.Live != nil && kube.OtherVersion(err) {
				if err := c.MoveFields(ctx, o); err != nil {
					return nil, err
				}
				applied, err = c.Apply(ctx, o, options)
			}
			return applied, err
		}()
		if !defined || !kube.IsMissing(err) && !kube.DoesNotFit(err) || time.Since(began) > definitionLimit {
			return applied, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(definitionRetry):
			c.ForgetKinds(ctx)
		}
	}
}

// refusesAnnotations reports whether an object was refused for the annotations that aksflow adds, or for their size.
func refusesAnnotations(err error) bool {
	text := err.Error()
	return strings.Contains(text, "metadata.annotations."+kube.AnnotationPrefix) || strings.Contains(text, "metadata.annotations: Too long") ||
		strings.Contains(text, "metadata.annotations: Invalid value") && strings.Contains(text, kube.AnnotationPrefix)
}
