package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/diff"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/target/cluster/traffic"
)

// Deploy applies a release and returns when it runs. When it cannot run, what was there before is put back, and the
// error says why: usually a *RolloutError. The Result says what became of each object in either case.
//
// Everything the API server would refuse is found before anything is applied. A cancelled context puts back what was
// there before, too; that takes a moment, so wait for Deploy to return.
func (c *Cluster) Deploy(ctx context.Context, r Release) (*Result, error) {
	d := c.delivery(r)
	err := d.exclusively(ctx, d.deploy)
	return d.outcome(), err
}

// Apply applies objects server-side in their order and returns when they are ready. It keeps no record, prunes nothing
// and restores nothing: it is for what a platform needs once, and safe to repeat.
func (c *Cluster) Apply(ctx context.Context, namespace string, objects []*unstructured.Unstructured) (*Result, error) {
	d := c.delivery(Release{App: "setup", Namespace: namespace, Objects: objects, ForceConflicts: true})
	// Where they go is up to the objects.
	for _, o := range objects {
		if !slices.Contains(d.release.Namespaces, o.GetNamespace()) {
			d.release.Namespaces = append(d.release.Namespaces, o.GetNamespace())
		}
	}
	normal, err := c.normalize(ctx, &d.release)
	if err != nil {
		return d.outcome(), err
	}
	var steps []step
	for _, o := range normal {
		steps = append(steps, step{object: o, status: Configured})
	}
	began := time.Now()
	if err := d.apply(ctx, steps); err != nil {
		return d.outcome(), err
	}
	return d.outcome(), c.await(ctx, &d.release, d.appliedObjects(), began)
}

// Diff is what Deploy would change, as unified diffs in the order of the objects, with the values of Secrets masked. It
// is "" when nothing would change.
func (c *Cluster) Diff(ctx context.Context, r Release) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	objects, err := c.normalize(ctx, &r)
	if err != nil {
		return "", err
	}
	set := newApplySet(r.App, r.Namespace)
	if err := c.readApplySet(ctx, set); err != nil {
		return "", err
	}
	set.label(objects)
	manifests := make([]*unstructured.Unstructured, len(objects))
	l, err := c.readLive(ctx, objects, set)
	if err != nil {
		return "", err
	}
	for i, o := range objects {
		manifests[i] = o.DeepCopy()
	}
	steps, err := c.prepare(ctx, &r, objects, l)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for i, s := range steps {
		title := s.ref().Long()
		switch {
		case s.status == Unchanged:
		case s.live == nil:
			out.WriteString(diff.Unified(title, nil, manifests[i], nil))
		case s.recreate:
			out.WriteString(diff.Unified(title, s.live, nil, nil))
			out.WriteString(diff.Unified(title, nil, manifests[i], nil))
		default:
			out.WriteString(diff.Unified(title, s.live, s.merged, manifests[i]))
		}
	}
	if !r.NoPrune {
		for _, o := range prunable(l, objects) {
			if r.mayPrune(o) {
				out.WriteString(diff.Unified(plan.RefOf(o).Long(), o, nil, nil))
			}
		}
	}
	return out.String(), nil
}

// delivery is one deploy under way.
type delivery struct {
	cluster *Cluster
	release Release

	set       *applySet
	revisions []Revision
	revision  Revision // this one; Number is 0 until it is recorded
	live      *live

	mu      sync.Mutex
	order   []plan.Ref
	results map[plan.Ref]ObjectResult
	applied map[plan.Ref]*unstructured.Unstructured // as the server returned them
	journal []change
	result  Result
}

// change is one object that a deploy has touched, or was about to.
type change struct {
	ref    plan.Ref
	object *unstructured.Unstructured // enough of it to find it again
	before *unstructured.Unstructured // nil: it was not there
	// autoscaled says that the number of its pods is not to be put back.
	autoscaled bool
	// replicaSets are those that a Deployment had, by their uid.
	replicaSets map[types.UID]appsv1.ReplicaSet
}

func (c *Cluster) delivery(r Release) *delivery {
	if r.User == "" {
		r.User = whoami()
	}
	if r.History == 0 {
		r.History = defaultHistory
	}
	return &delivery{
		cluster: c, release: r,
		results: map[plan.Ref]ObjectResult{}, applied: map[plan.Ref]*unstructured.Unstructured{},
	}
}

func (d *delivery) note(ref plan.Ref, status, message string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.results[ref]; !ok {
		d.order = append(d.order, ref)
	}
	d.results[ref] = ObjectResult{Ref: ref.In(d.release.Namespace), Status: status, Message: message}
}

// noteUnchanged leaves what was noted before: a namespace that was made first is unchanged afterwards.
func (d *delivery) noteUnchanged(ref plan.Ref) {
	d.mu.Lock()
	_, noted := d.results[ref]
	d.mu.Unlock()
	if !noted {
		d.note(ref, Unchanged, "")
	}
}

func (d *delivery) outcome() *Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	result := d.result
	result.Objects = make([]ObjectResult, 0, len(d.order))
	for _, ref := range d.order {
		result.Objects = append(result.Objects, d.results[ref])
	}
	return &result
}

func (d *delivery) appliedObjects() []*unstructured.Unstructured {
	d.mu.Lock()
	defer d.mu.Unlock()
	objects := make([]*unstructured.Unstructured, 0, len(d.applied))
	for _, ref := range d.order {
		if o := d.applied[ref]; o != nil {
			objects = append(objects, o)
		}
	}
	return objects
}

// exclusively runs do under the app's Lease. The namespace that the Lease is in may have to be made first.
func (d *delivery) exclusively(ctx context.Context, do func(context.Context, []*unstructured.Unstructured) error) error {
	c, r := d.cluster, &d.release
	if err := r.check(); err != nil {
		return err
	}
	objects, err := c.normalize(ctx, r)
	if err != nil {
		return err
	}
	d.set = newApplySet(r.App, r.Namespace)
	d.set.label(objects)
	if err := d.ensureNamespaces(ctx, objects); err != nil {
		return err
	}
	locked, release, err := c.lock(ctx, r.App, r.Namespace, r.User)
	if err != nil {
		return d.settle(ctx, err)
	}
	defer release()
	if d.revisions, err = c.History(locked, r.App, r.Namespace); err != nil {
		return d.settle(ctx, err)
	}
	if now := latest(d.revisions, RevisionDeployed); now != nil {
		d.result.Revision = now.Number
	}
	return do(locked, objects)
}

// ensureNamespaces makes the namespaces that are among the objects and not there yet, so that there is a place for the
// Lease, and so that everything else can be tried before it is applied.
func (d *delivery) ensureNamespaces(ctx context.Context, objects []*unstructured.Unstructured) error {
	c, r := d.cluster, &d.release
	for _, name := range append([]string{r.Namespace}, r.Namespaces...) {
		client, err := c.resource(ctx, nsObject, "")
		if err != nil {
			return err
		}
		now, err := c.get(ctx, client, name)
		if err != nil {
			return explain("Namespace/"+name, err)
		}
		if now != nil && now.GetDeletionTimestamp() != nil {
			return fmt.Errorf("the namespace %s is being deleted: wait until it is gone, or use another", name)
		}
		if now != nil {
			continue
		}
		i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
			return o.GroupVersionKind().GroupKind() == nsObject.GroupKind() && o.GetName() == name
		})
		if i < 0 {
			return fault.Usagef("there is no namespace %s: add a Namespace to the manifests, or create it first", name)
		}
		if err := d.settle(ctx, d.applyOne(ctx, step{object: objects[i], status: Created})); err != nil {
			return err
		}
	}
	return nil
}

// settle undoes what was done so far when err is set.
func (d *delivery) settle(ctx context.Context, err error) error {
	if err == nil || len(d.journal) == 0 {
		return err
	}
	return errors.Join(err, d.restore(ctx))
}

// deploy is the whole of it, under the Lease.
func (d *delivery) deploy(ctx context.Context, objects []*unstructured.Unstructured) error {
	c, r := d.cluster, &d.release
	if held := latest(d.revisions, RevisionHeld); held != nil {
		return d.settle(ctx, fmt.Errorf("revision %d of %s waits for a decision: promote or reject it first", held.Number, r.App))
	}
	recorded := copies(objects)
	steps, err := d.survey(ctx, objects)
	if err != nil {
		return d.settle(ctx, err)
	}
	prune := d.toPrune(ctx, objects)

	began := time.Now()
	if !slices.ContainsFunc(steps, func(s step) bool { return s.status != Unchanged }) && len(prune) == 0 && d.result.Revision > 0 && len(d.journal) == 0 {
		for _, s := range steps {
			d.note(s.ref(), Unchanged, "")
			d.applied[s.ref()] = s.live
		}
		report.Info(ctx, "nothing to change: the cluster has revision %d of %s already", d.result.Revision, r.App)
		return c.await(ctx, r, d.appliedObjects(), began)
	}

	if err := d.record(ctx, recorded); err != nil {
		return d.settle(ctx, err)
	}
	if d.set.cover(objects) {
		if err := c.writeApplySet(ctx, d.set); err != nil {
			return d.fail(ctx, err)
		}
	}
	if err := d.rollOut(ctx, steps, began); err != nil {
		return d.fail(ctx, err)
	}
	if d.result.Held {
		return nil
	}
	if err := d.prune(ctx, prune, objects); err != nil {
		return d.fail(ctx, err)
	}
	return d.succeed(ctx)
}

// rollOut applies the steps in the way that the strategy says, and returns when what was applied runs.
func (d *delivery) rollOut(ctx context.Context, steps []step, began time.Time) error {
	p, err := d.progressive(ctx, steps, began)
	if err != nil {
		return err
	}
	if p != nil {
		return p.run(ctx, 0)
	}
	if err := d.applyAndAwait(ctx, steps, began); err != nil {
		return err
	}
	if err := d.cluster.verifyImage(ctx, &d.release, d.appliedObjects()); err != nil {
		return err
	}
	return d.smoke(ctx, d.release.Strategy.Smoke, d.frontService())
}

func (d *delivery) applyAndAwait(ctx context.Context, steps []step, began time.Time) error {
	if err := d.apply(ctx, steps); err != nil {
		return err
	}
	return d.cluster.await(ctx, &d.release, d.appliedObjects(), began)
}

// frontService is the name of the first Service among the objects that has something in front of which to be.
func (d *delivery) frontService() string {
	for _, service := range d.appliedObjects() {
		for _, o := range d.appliedObjects() {
			if o.GetKind() == "Deployment" && traffic.Selects(service, o) {
				return service.GetName()
			}
		}
	}
	return ""
}

// record writes down what is about to be deployed.
func (d *delivery) record(ctx context.Context, objects []*unstructured.Unstructured) error {
	r := &d.release
	number := 1
	if len(d.revisions) > 0 {
		number = d.revisions[0].Number + 1
	}
	d.revision = Revision{
		Number: number, Status: RevisionPending, User: r.User, Time: time.Now().UTC().Truncate(time.Second),
		Image: r.Image, SourceRevision: r.SourceRevision, RunURL: r.RunURL,
		Namespaces: r.Namespaces, Strategy: r.Strategy,
	}
	return d.cluster.writeRevision(ctx, r.App, r.Namespace, &d.revision, objects)
}

// apply applies the steps, one stage after the other, and waits where the next stage needs it.
func (d *delivery) apply(ctx context.Context, steps []step) error {
	byRef := make(map[plan.Ref]step, len(steps))
	objects := make([]*unstructured.Unstructured, 0, len(steps))
	for _, s := range steps {
		byRef[s.ref()] = s
		objects = append(objects, s.object)
		if s.status == Unchanged {
			d.noteUnchanged(s.ref())
		}
	}
	groups := plan.Groups(objects)
	hasJobs := slices.ContainsFunc(steps, func(s step) bool {
		return s.ref().GroupKind() == jobKind && s.status != Unchanged
	})
	for _, stage := range groups {
		began := time.Now()
		group, together := errgroup.WithContext(ctx)
		group.SetLimit(parallel)
		for _, o := range stage.Objects {
			s := byRef[plan.RefOf(o)]
			if s.status == Unchanged {
				d.mu.Lock()
				d.applied[s.ref()] = s.live
				d.mu.Unlock()
				continue
			}
			group.Go(func() error { return d.applyOne(together, s) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		wait := stage.Stage == plan.Definitions || hasJobs && (stage.Stage == plan.Data || stage.Stage == plan.Jobs)
		if !wait {
			continue
		}
		var waitFor []*unstructured.Unstructured
		for _, o := range stage.Objects {
			waitFor = append(waitFor, d.applied[plan.RefOf(o)])
		}
		if err := d.cluster.await(ctx, &d.release, waitFor, began); err != nil {
			return err
		}
		if stage.Stage == plan.Definitions {
			d.cluster.mapper.ResetWithContext(ctx)
		}
	}
	return nil
}

func (d *delivery) applyOne(ctx context.Context, s step) error {
	c, options := d.cluster, applyOptions{force: d.release.ForceConflicts}
	touched := change{ref: s.ref(), object: s.object, before: s.live, autoscaled: s.autoscaled}
	if s.live != nil && s.ref().GroupKind() == deploymentKind && !d.release.NoRollback {
		var err error
		if touched.replicaSets, err = c.replicaSetsOf(ctx, s.live); err != nil {
			return explain("the ReplicaSets of "+s.ref().In(d.release.Namespace), err)
		}
	}
	d.mu.Lock()
	// Before the request, for the answer may be lost.
	d.journal = append(d.journal, touched)
	d.mu.Unlock()

	apply := func(o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		if s.recreate {
			return c.recreate(ctx, s.live, o, options)
		}
		return c.apply(ctx, o, options)
	}
	applied, err := apply(s.object)
	if s.autoscaled && scaledMeanwhile(err) {
		s.object = s.object.DeepCopy()
		unstructured.RemoveNestedField(s.object.Object, "spec", "replicas")
		applied, err = apply(s.object)
	}
	if err != nil && refusesAnnotations(err) {
		bare := s.object.DeepCopy()
		untrace(bare)
		report.Warn(ctx, "%s is deployed without the annotations that say where it comes from: %v", s.ref().In(d.release.Namespace), explain("they", err))
		applied, err = apply(bare)
	}
	if err != nil {
		err = explain(s.ref().In(d.release.Namespace), err)
		d.note(s.ref(), Failed, err.Error())
		return err
	}
	d.mu.Lock()
	d.applied[s.ref()] = applied
	d.mu.Unlock()
	d.note(s.ref(), s.status, "")
	report.Progressf(ctx, s.ref().In(d.release.Namespace), "%s", s.status)
	return nil
}

// refusesAnnotations says that an object was refused for the annotations that aksflow adds, or for their size.
func refusesAnnotations(err error) bool {
	text := err.Error()
	return strings.Contains(text, "metadata.annotations."+annotationPrefix) || strings.Contains(text, "metadata.annotations: Too long") ||
		strings.Contains(text, "metadata.annotations: Invalid value") && strings.Contains(text, annotationPrefix)
}

func (r *Release) mayPrune(o *unstructured.Unstructured) bool {
	switch o.GetKind() {
	case "Namespace":
		return r.PruneNamespaces
	case "PersistentVolumeClaim":
		return r.PruneVolumes
	}
	return true
}

// toPrune are the objects that left the manifests.
func (d *delivery) toPrune(ctx context.Context, objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	if d.release.NoPrune {
		return nil
	}
	for _, kind := range d.live.unlisted {
		if kind == nsObject.GroupKind() && !d.release.PruneNamespaces {
			continue
		}
		report.Warn(ctx, "objects of the kind %s are not pruned: they may not be listed", kind)
	}
	return slices.DeleteFunc(prunable(d.live, objects), func(o *unstructured.Unstructured) bool {
		if d.release.mayPrune(o) {
			return false
		}
		flag := "--prune-volumes"
		if o.GetKind() == "Namespace" {
			flag = "--prune-namespaces"
		}
		report.Warn(ctx, "%s left the manifests and stays, since deleting it deletes what is in it: say %s to delete it", plan.RefOf(o).Long(), flag)
		return true
	})
}

// prune deletes what left the manifests, what was applied last first, and narrows the ApplySet to what is left.
func (d *delivery) prune(ctx context.Context, gone, objects []*unstructured.Unstructured) error {
	for _, o := range gone {
		ref := plan.RefOf(o)
		d.mu.Lock()
		d.journal = append(d.journal, change{ref: ref, object: o, before: o})
		d.mu.Unlock()
		if err := d.cluster.remove(ctx, o, false); err != nil {
			return explain("pruning "+ref.In(d.release.Namespace), err)
		}
		d.note(ref, Pruned, "")
		report.Progressf(ctx, ref.In(d.release.Namespace), Pruned)
	}
	kept := objects
	for ref := range d.live.members {
		if o := d.live.objects[ref]; !slices.Contains(gone, o) {
			kept = append(kept, o)
		}
	}
	if len(d.live.unlisted) == 0 && d.set.only(kept) {
		return d.cluster.writeApplySet(ctx, d.set)
	}
	return nil
}

// succeed closes the record of this revision and of the one before.
func (d *delivery) succeed(ctx context.Context) error {
	c, r := d.cluster, &d.release
	for i := range d.revisions {
		if old := &d.revisions[i]; old.Status == RevisionDeployed || old.Status == RevisionPending {
			old.Status = map[RevisionStatus]RevisionStatus{RevisionDeployed: RevisionSuperseded, RevisionPending: RevisionFailed}[old.Status]
			if err := c.writeRevision(ctx, r.App, r.Namespace, old, nil); err != nil {
				return err
			}
		}
	}
	d.revision.Status, d.revision.Message = RevisionDeployed, ""
	if err := c.writeRevision(ctx, r.App, r.Namespace, &d.revision, nil); err != nil {
		return err
	}
	d.result.Revision = d.revision.Number
	if err := c.trimHistory(ctx, r.App, r.Namespace, append([]Revision{d.revision}, d.revisions...), r.History); err != nil {
		report.Warn(ctx, "old revisions could not be removed: %v", err)
	}
	return nil
}

// jsonEqual compares values as the API server would read them.
func jsonEqual(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func copies(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		out[i] = o.DeepCopy()
	}
	return out
}
