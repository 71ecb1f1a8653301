package cluster

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
)

// App names what was deployed, for going back from it or on with it.
type App struct {
	Name, Namespace string
	// User and RunURL are written to the record, as for a Release.
	User, RunURL string

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
	report.Info(ctx, "going back to revision %d of %s, of %s", back.Number, app.Name, back.Time.Format(time.DateTime))
	release := app.release(back, objects)
	release.Rollback = true
	return c.Deploy(ctx, release)
}

func rollbackTo(app App, revisions []kube.Revision, to int) (*kube.Revision, error) {
	if to != 0 {
		for i := range revisions {
			if revisions[i].Number == to {
				return &revisions[i], nil
			}
		}
		return nil, fault.Usagef("%s in %s has no revision %d; it has %s", app.Name, app.Namespace, to, numbers(revisions))
	}
	if len(revisions) > 0 && (revisions[0].Status == kube.RevisionFailed || revisions[0].Status == kube.RevisionPending) {
		if now := kube.Latest(revisions, kube.RevisionDeployed); now != nil {
			return now, nil
		}
	}
	if before := kube.Latest(revisions, kube.RevisionSuperseded); before != nil {
		return before, nil
	}
	return nil, fmt.Errorf("%s in %s has no earlier revision to go back to; it has %s", app.Name, app.Namespace, numbers(revisions))
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
