package cluster

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/render"
)

// App names what was deployed, for going back from it or on with it.
type App struct {
	Name, Namespace string
	// User and RunURL are written to the record, as for a Release.
	User, RunURL string

	// PastJobs allows a rollback past revisions that ran Jobs or hooks, whose work it does not undo.
	PastJobs bool
	// NoHooks uninstalls without running hooks.
	NoHooks bool

	Rules
}

// Rollback deploys the objects of an earlier revision as a new one. to is its number; 0 means the revision that ran
// before the present one or, after a deploy that failed and was left as it is, the one that should be running.
func (c *Cluster) Rollback(ctx context.Context, app App, to int) (*Result, error) {
	revisions, err := c.kube.History(ctx, app.Name, app.Namespace)
	if err != nil {
		return &Result{}, err
	}
	back, err := rollbackTo(app, revisions, to)
	if err != nil {
		return &Result{}, err
	}
	objects, err := c.kube.ReadObjects(ctx, app.Name, app.Namespace, back)
	if err != nil {
		return &Result{}, err
	}
	if err := c.checkJobs(ctx, app, revisions, back, objects); err != nil {
		return &Result{}, err
	}
	report.Info(ctx, "going back to revision %d of %s, of %s", back.Number, app.Name, back.Time.Format(time.DateTime))
	release := app.release(back, objects)
	release.Rollback = true
	return c.Deploy(ctx, release)
}

// checkJobs refuses a rollback past a revision that ran Jobs or hooks which the earlier one does not have so, such as a
// migration of a database: their work is not undone, and the earlier version may not fit it. A deploy that failed is no
// such revision; when it was put back, its Jobs were warned of.
func (c *Cluster) checkJobs(ctx context.Context, app App, revisions []kube.Revision, back *kube.Revision, objects []*unstructured.Unstructured) error {
	had := map[plan.Ref]*unstructured.Unstructured{}
	for _, o := range objects {
		had[plan.RefOf(o)] = o
	}
	var ran []string
	for i := range revisions {
		r := &revisions[i]
		if r.Number <= back.Number || r.Status != kube.RevisionDeployed && r.Status != kube.RevisionSuperseded {
			continue
		}
		later, err := c.kube.ReadObjects(ctx, app.Name, app.Namespace, r)
		if err != nil {
			return err
		}
		for _, o := range later {
			ref := plan.RefOf(o)
			if before := had[ref]; runsOnce(ref) && ranIn(r, o) && (before == nil || !reflect.DeepEqual(before.Object["spec"], o.Object["spec"])) {
				ran = append(ran, fmt.Sprintf("%s of revision %d", ref.In(app.Namespace), r.Number))
			}
		}
	}
	if len(ran) == 0 {
		return nil
	}
	if app.PastJobs {
		report.Warn(ctx, "what these did is not undone: %s", strings.Join(ran, ", "))
		return nil
	}
	return fmt.Errorf("revision %d of %s may not fit what later ones did, which a rollback does not undo: %s: go back all the same with --past-jobs",
		back.Number, app.Name, strings.Join(ran, ", "))
}

// ranIn reports whether the deploy of a revision ran an object: it is no hook of another event.
func ranIn(r *kube.Revision, o *unstructured.Unstructured) bool {
	event := render.Install
	if r.Upgrade {
		event = render.Upgrade
	}
	rest, hooks := render.Hooks([]*unstructured.Unstructured{o}, event)
	return len(rest)+len(hooks) > 0
}

func rollbackTo(app App, revisions []kube.Revision, to int) (*kube.Revision, error) {
	if held := kube.Latest(revisions, kube.RevisionHeld); held != nil {
		return nil, heldError(app.Name, held)
	}
	if to != 0 {
		for i := range revisions {
			if revisions[i].Number == to {
				return &revisions[i], nil
			}
		}
		return nil, fault.Usagef("%s in %s has no revision %d; it has %s", app.Name, app.Namespace, to, numbers(revisions))
	}
	for i := range revisions {
		if revisions[i].Status == kube.RevisionDeployed && left(revisions[:i]) {
			return &revisions[i], nil
		}
	}
	if before := kube.Latest(revisions, kube.RevisionSuperseded); before != nil {
		return before, nil
	}
	return nil, fmt.Errorf("%s in %s has no earlier revision to go back to; it has %s", app.Name, app.Namespace, numbers(revisions))
}

// left reports whether what failed deploys changed may still be there.
func left(newer []kube.Revision) bool {
	return slices.ContainsFunc(newer, func(r kube.Revision) bool { return r.Left || r.Status == kube.RevisionPending })
}

func numbers(revisions []kube.Revision) string {
	if len(revisions) == 0 {
		return "none"
	}
	text := ""
	for i, r := range revisions {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%d (%s)", r.Number, r.Status)
	}
	return text
}

// release returns what deploys a recorded revision again.
func (app App) release(r *kube.Revision, objects []*unstructured.Unstructured) Release {
	return Release{
		App: app.Name, Namespace: app.Namespace, Namespaces: r.Namespaces, Objects: objects,
		Image: r.Image, SourceRevision: r.SourceRevision, User: app.User, RunURL: app.RunURL, Rules: app.Rules,
	}
}
