// Package render turns manifests on disk into the objects that they describe: a kustomization, a Helm chart, a
// directory of plain YAML or JSON files, or one such file.
//
// It reads local files, and for a chart it asks the cluster that the caller gives it. A remote base, a chart that is not vendored and a plugin that would run a
// program are refused by name, so that what is deployed is what was reviewed.
package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Options are what a caller may set beside the path.
type Options struct {
	// Images are put into the rendered objects, see [SetImages].
	Images []Image

	// Repository is the directory whose files a kustomization may name, as Flux allows it. Empty: a kustomization may name
	// files in its own directory and below only, as kubectl and Argo CD want it. Only for kustomizations.
	Repository string
	// Values are the values of a chart; later ones win. Only for charts.
	Values []Values
	// Set are assignments in the form of `helm --set` ("image.tag=v1,replicas=2"). They win over Values. Only for charts.
	Set []string
	// ReleaseName is a chart's .Release.Name; default: the chart's name. Only for charts.
	ReleaseName string
	// Namespace is the namespace that is deployed to, and a chart's .Release.Namespace; default: "default". Only for
	// charts: where an object goes is otherwise decided by its own metadata and by who applies it.
	Namespace string
	// Revision is the number of this deploy, a chart's .Release.Revision; default: 1. Upgrade means that the app was
	// deployed before. Only for charts.
	Revision int
	Upgrade  bool
	// Cluster is the cluster that is deployed to. It gives a chart its .Capabilities and the function lookup. Nil: as for
	// `helm template`, lookup finds nothing, and the capabilities are those that Helm was built for. Only for charts.
	Cluster Cluster
}

// Render returns the objects that path describes, in the order in which they stand there.
//
// Anything wrong with the files (no such path, not YAML, not a Kubernetes object, something remote) is
// [fault.Usage] and names the file, and the line where it is known. An image that matches nothing is an ordinary
// error that lists the images that were seen.
func Render(ctx context.Context, path string, o Options) ([]*unstructured.Unstructured, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Usagef("no manifests at %s: give the path of a kustomization, a Helm chart, a directory of manifests or a manifest", path)
	case err != nil:
		return nil, fault.Usagef("reading manifests: %w", err)
	}

	var objects []*unstructured.Unstructured
	switch {
	case IsChart(path):
		objects, err = renderChart(ctx, path, o)
	case info.IsDir() && isKustomization(path):
		objects, err = kustomization(ctx, path, o.Repository)
	case info.IsDir():
		objects, err = directory(ctx, path)
	default:
		if slices.Contains(kustomizationNames, filepath.Base(path)) {
			return Render(ctx, filepath.Dir(path), o)
		}
		objects, err = file(ctx, path)
	}
	if err != nil {
		return nil, fault.Usage(err)
	}
	if !IsChart(path) {
		warnUnknownHooks(objects, warner(ctx))
	}
	if len(objects) == 0 {
		return nil, fault.Usagef("%s describes no objects: the manifests there are empty", path)
	}
	if _, err := SetImages(objects, o.Images); err != nil {
		return nil, fmt.Errorf("setting the image in %s: %w", path, err)
	}
	return objects, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
