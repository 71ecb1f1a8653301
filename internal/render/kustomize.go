package render

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"
)

var kustomizationNames = konfig.RecognizedKustomizationFileNames()

func isKustomization(dir string) bool { return kustomizationFile(dir) != "" }

// kustomizationFile is the path of dir's kustomization, or "".
func kustomizationFile(dir string) string {
	for _, name := range kustomizationNames {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return ""
}

func kustomization(dir string) ([]*unstructured.Unstructured, error) {
	if err := (&localOnly{seen: map[string]bool{}}).directory(dir); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	// kubectl and Argo CD forbid files beside the kustomization's own root. What renders here must render there.
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("rendering the kustomization %s: %w", dir, err)
	}
	objects := make([]*unstructured.Unstructured, 0, resources.Size())
	for _, resource := range resources.Resources() {
		// MarshalJSON keeps integers integers; Map would hand out the int type that unstructured does not take.
		data, err := resource.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("rendering the kustomization %s: %s: %w", dir, resource.CurId(), err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(data); err != nil {
			return nil, fmt.Errorf("rendering the kustomization %s: %s: %w", dir, resource.CurId(), err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// localOnly walks a kustomization and everything it is made of before kustomize does: to refuse what kustomize would
// fetch or run, and because kustomize's own errors about broken YAML name no line.
type localOnly struct{ seen map[string]bool }

func (l *localOnly) directory(dir string) error {
	path := kustomizationFile(dir)
	if path == "" {
		return fmt.Errorf("%s holds no kustomization.yaml: add one, or name the files in it one by one", dir)
	}
	if l.seen[path] {
		return nil
	}
	l.seen[path] = true

	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := documents(path, data, func(int, *yaml.Node) error { return nil }); err != nil {
		return err
	}
	var k types.Kustomization
	if err := sigsyaml.UnmarshalStrict(data, &k); err != nil {
		return fmt.Errorf("%s is not a kustomization: %w", path, err)
	}
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		return fmt.Errorf("%s inflates Helm charts, for which kustomize runs the helm command: give the chart's own directory instead, or commit its rendered output", path)
	}

	//lint:ignore SA1019 Bases is deprecated, and still in people's repositories.
	bases := k.Bases
	for _, entry := range slices.Concat(k.Resources, bases, k.Components) {
		if err := l.entry(path, entry, true); err != nil {
			return err
		}
	}
	files := slices.Concat(k.Configurations, k.Crds, k.Generators, k.Transformers, k.Validators)
	files = append(files, k.OpenAPI["path"])
	//lint:ignore SA1019 As above.
	for _, patch := range k.PatchesStrategicMerge {
		files = append(files, string(patch))
	}
	//lint:ignore SA1019 As above.
	old := k.PatchesJson6902
	for _, patch := range slices.Concat(k.Patches, old) {
		files = append(files, patch.Path)
	}
	for _, replacement := range k.Replacements {
		files = append(files, replacement.Path)
	}
	for _, entry := range files {
		if entry == "" || strings.Contains(entry, "\n") { // written in place
			continue
		}
		if err := l.entry(path, entry, false); err != nil {
			return err
		}
	}
	for _, generated := range k.ConfigMapGenerator {
		if err := noURL(path, slices.Concat(generated.FileSources, generated.EnvSources)); err != nil {
			return err
		}
	}
	for _, generated := range k.SecretGenerator {
		if err := noURL(path, slices.Concat(generated.FileSources, generated.EnvSources)); err != nil {
			return err
		}
	}
	return nil
}

// entry checks one path that a kustomization names. required says that it must be there: a resource that is not on
// disk is what kustomize would try to clone.
func (l *localOnly) entry(kustomization, entry string, required bool) error {
	path := filepath.Join(filepath.Dir(kustomization), entry)
	switch {
	case filepath.IsAbs(entry):
		return fmt.Errorf("%s names the absolute path %s: use a path relative to the kustomization", kustomization, entry)
	case isDir(path):
		return l.directory(path)
	case isFile(path):
		if !isManifest(path) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return documents(path, data, func(int, *yaml.Node) error { return nil })
	case isRemote(entry):
		return remote(kustomization, entry)
	case required:
		return fmt.Errorf("%s names %s, and there is no such file or directory", kustomization, entry)
	}
	return nil
}

func noURL(kustomization string, entries []string) error {
	for _, entry := range entries {
		if _, path, ok := strings.Cut(entry, "="); ok { // KEY=FILE
			entry = path
		}
		if isRemote(entry) {
			return remote(kustomization, entry)
		}
	}
	return nil
}

func remote(kustomization, entry string) error {
	return fmt.Errorf("%s names the remote %s: only local files are rendered, so that what is deployed is what was reviewed; copy it into the repository and name the copy", kustomization, entry)
}

// remoteForm is what kustomize takes for a repository or a URL: a scheme, an scp-like user@host:, a known host in the
// first place, or a query as in "repo//path?ref=v1".
var remoteForm = regexp.MustCompile(`://|^[\w.-]+@[\w.-]+:|^(github\.com|gitlab\.com|bitbucket\.org|dev\.azure\.com|ssh\.dev\.azure\.com)[/:]|^git::|\?(ref|version|timeout|submodules)=`)

func isRemote(entry string) bool { return remoteForm.MatchString(entry) }
