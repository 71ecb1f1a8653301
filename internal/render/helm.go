package render

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// chart renders a Helm chart as `helm template --include-crds` would, without its tests. Hooks come out as ordinary
// objects: who applies them runs Jobs before the workloads, which is what pre-install and pre-upgrade hooks are for.
func chart(ctx context.Context, path string, o Options) ([]*unstructured.Unstructured, error) {
	loaded, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("reading the Helm chart %s: %w", path, err)
	}
	if missing := missingDependencies(loaded); len(missing) > 0 {
		return nil, fmt.Errorf("the Helm chart %s depends on %s, which is not in its charts directory: run `helm dependency build` and commit the result, since nothing is fetched while rendering",
			path, strings.Join(missing, ", "))
	}
	values := map[string]any{}
	for _, file := range o.Values {
		read, err := common.ReadValuesFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s is not a values file: %w", file, err)
		}
		values = loader.MergeMaps(values, read)
	}
	if err := chartutil.ProcessDependencies(loaded, values); err != nil {
		return nil, fmt.Errorf("the dependencies of the Helm chart %s: %w", path, err)
	}
	capabilities, err := capabilities(o)
	if err != nil {
		return nil, err
	}
	release := common.ReleaseOptions{Name: o.ReleaseName, Namespace: o.Namespace, Revision: 1, IsInstall: true}
	if release.Name == "" {
		release.Name = loaded.Name()
	}
	if release.Namespace == "" {
		release.Namespace = "default"
	}
	renderValues, err := util.ToRenderValues(loaded, values, release, capabilities)
	if err != nil {
		return nil, fmt.Errorf("the values of the Helm chart %s: %w", path, err)
	}
	// The zero engine: no cluster to look things up in, no DNS.
	files, err := engine.Engine{}.RenderWithContext(ctx, loaded, renderValues)
	if err != nil {
		return nil, fmt.Errorf("rendering the Helm chart %s: %w", path, err)
	}

	var objects []*unstructured.Unstructured
	for _, crd := range loaded.CRDObjects() {
		read, err := Decode(crd.Filename, crd.File.Data)
		if err != nil {
			return nil, err
		}
		objects = append(objects, read...)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !isManifest(name) {
			continue
		}
		read, err := Decode(name, []byte(files[name]))
		if err != nil {
			return nil, fmt.Errorf("rendering the Helm chart %s: %w", path, err)
		}
		for _, object := range read {
			if !isTest(object) {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}

func capabilities(o Options) (*common.Capabilities, error) {
	c := common.DefaultCapabilities.Copy()
	if o.KubeVersion != "" {
		version, err := common.ParseKubeVersion(o.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("the Kubernetes version %q: %w", o.KubeVersion, err)
		}
		c.KubeVersion = *version
	}
	c.APIVersions = append(c.APIVersions, o.APIVersions...)
	return c, nil
}

func missingDependencies(c *chartv2.Chart) []string {
	var missing []string
	for _, dependency := range c.Metadata.Dependencies {
		there := slices.ContainsFunc(c.Dependencies(), func(d *chartv2.Chart) bool { return d.Name() == dependency.Name })
		if !there {
			missing = append(missing, path.Join(dependency.Repository, dependency.Name))
		}
	}
	return missing
}

// isTest says that an object is run by `helm test` only.
func isTest(object *unstructured.Unstructured) bool {
	return strings.HasPrefix(object.GetAnnotations()["helm.sh/hook"], "test")
}
