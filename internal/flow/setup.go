package flow

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/render"
)

// SetUp applies the objects that make the operator follow the environment's repository. Where they name SetupRepo, they
// get the repository's own address.
func (d *Delivery) SetUp(ctx context.Context) error {
	g := d.Environment.GitOps
	objects, err := render.Render(ctx, d.Config.Abs(g.Setup), render.Options{})
	if err != nil {
		return err
	}
	for _, o := range objects {
		o.Object = replaced(o.Object, d.SetupRepo, g.Repo).(map[string]any)
	}
	if d.GitPassword != "" {
		objects = append(objects, d.repositorySecret(objects))
	}
	cluster, err := d.Cluster(ctx)
	if err != nil {
		return err
	}
	if _, err := cluster.Apply(ctx, "", objects); err != nil {
		return fmt.Errorf("making %s follow %s: %w", g.Operator, g.Repo, err)
	}
	return nil
}

// repositorySecret is the repository's password in the form that the operator reads, in the operator's own namespace:
// that of the objects.
//
//   - https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repositories
//   - https://fluxcd.io/flux/components/source/gitrepositories/#secret-reference
func (d *Delivery) repositorySecret(objects []*unstructured.Unstructured) *unstructured.Unstructured {
	data := map[string]any{"username": d.GitUser, "password": d.GitPassword}
	metadata := map[string]any{"name": d.Config.App + "-git"}
	for _, o := range objects {
		if namespace := o.GetNamespace(); namespace != "" {
			metadata["namespace"] = namespace
		}
	}
	if d.Environment.GitOps.Operator == config.ArgoCD {
		data["type"], data["url"] = "git", d.Environment.GitOps.Repo
		metadata["labels"] = map[string]any{"argocd.argoproj.io/secret-type": "repository"}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data,
	}}
}

// replaced is a copy of a JSON value with from exchanged for to in its strings.
func replaced(value any, from, to string) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, from, to)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = replaced(v[i], from, to)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = replaced(v[key], from, to)
		}
		return out
	default:
		return v
	}
}
