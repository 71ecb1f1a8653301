// Package kustomize renders kustomizations that stand in a file system, in memory and offline.
//
// What kustomize would fetch or run is refused by name: remote bases, files at a URL, Helm charts, plugins.
package kustomize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/core/manifest"
)

// Build renders the kustomization in a directory of fsys to a YAML stream. Its error is [manifest.ErrNotRendered] when the
// kustomization needs something that is not in fsys. Files beside the kustomization's own root may be used, as Flux
// allows. One call runs at a time: kustomize keeps its schema in global variables.
func Build(ctx context.Context, fsys fs.FS, dir string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	g := &guard{fsys: fsys, seen: map[string]bool{}}
	if err := g.directory(dir); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	var built resmap.ResMap
	var err error
	Quietly(ctx, func() { built, err = krusty.MakeKustomizer(options).Run(fileSystem{fsys}, path.Join("/", dir)) })
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}

// guard walks a kustomization and everything that it is made of before kustomize does.
type guard struct {
	fsys fs.FS
	seen map[string]bool
}

func notRendered(name, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", manifest.ErrNotRendered, name, fmt.Sprintf(format, args...))
}

func (g *guard) directory(dir string) error {
	if g.seen[dir] {
		return nil
	}
	g.seen[dir] = true
	name, data, err := g.read(dir)
	if err != nil {
		return err
	}
	var k types.Kustomization
	if err := sigsyaml.Unmarshal(data, &k); err != nil {
		return fmt.Errorf("%s is not a kustomization: %w", name, err)
	}
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		return notRendered(name, "inflates Helm charts")
	}
	for _, entry := range sources(&k) {
		if isURL.MatchString(entry) {
			return notRendered(name, "names the remote %s", entry)
		}
	}
	//lint:ignore SA1019 Bases is deprecated, and still in people's repositories.
	bases := k.Bases
	for _, list := range [][]string{k.Resources, bases, k.Components, k.Generators, k.Transformers, k.Validators} {
		for _, entry := range list {
			if err := g.entry(name, entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry checks an entry that may be a directory: kustomize would clone what is not there.
func (g *guard) entry(name, entry string) error {
	if strings.Contains(entry, "\n") { // written in place
		return nil
	}
	if isRepository.MatchString(entry) {
		return notRendered(name, "names the remote %s", entry)
	}
	at := path.Join(path.Dir(name), entry)
	if path.IsAbs(entry) || !fs.ValidPath(at) {
		return notRendered(name, "names %s, which is outside of the repository", entry)
	}
	info, err := fs.Stat(g.fsys, at)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s names %s, and there is no such file or directory", name, entry)
	}
	if err != nil {
		return fmt.Errorf("%s names %s: %w", name, entry, err)
	}
	if info.Mode()&fs.ModeIrregular != 0 {
		return notRendered(name, "names %s, which is in a submodule", entry)
	}
	if info.IsDir() {
		return g.directory(at)
	}
	return nil
}

// read returns the kustomization of a directory.
func (g *guard) read(dir string) (name string, data []byte, err error) {
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		name = path.Join(dir, base)
		if data, err = fs.ReadFile(g.fsys, name); err == nil {
			return name, data, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return name, nil, err
		}
	}
	return dir, nil, fmt.Errorf("%s holds no kustomization.yaml", dir)
}

var (
	// isURL is what kustomize fetches when it stands for a file.
	isURL = regexp.MustCompile(`(?i)^https?://`)
	// isRepository is what kustomize takes for a git repository before it looks for a directory.
	// https://github.com/kubernetes-sigs/kustomize/blob/api/v0.21.1/api/internal/git/repospec.go
	isRepository = regexp.MustCompile(`(?i)^(git::)?([a-z0-9+.-]+://|[\w.-]+@[\w.-]+[:/]|(www\.)?github\.com[:/]|gh:|gitlab\.com[:/]|bitbucket\.org[:/]|[\w.-]*dev\.azure\.com[:/])|\?(ref|version|timeout|submodules)=`)
)

// sources returns everything in a kustomization that names a file.
func sources(k *types.Kustomization) []string {
	var out []string
	add := func(lists ...[]string) {
		for _, list := range lists {
			out = append(out, list...)
		}
	}
	//lint:ignore SA1019 As above.
	add(k.Resources, k.Bases, k.Components, k.Crds, k.Configurations, k.Generators, k.Transformers, k.Validators)
	out = append(out, k.OpenAPI["path"])
	//lint:ignore SA1019 As above.
	for _, patch := range k.PatchesStrategicMerge {
		out = append(out, string(patch))
	}
	//lint:ignore SA1019 As above.
	for _, patches := range [][]types.Patch{k.Patches, k.PatchesJson6902} {
		for _, patch := range patches {
			out = append(out, patch.Path)
		}
	}
	for _, replacement := range k.Replacements {
		out = append(out, replacement.Path)
	}
	files := func(s types.KvPairSources) {
		for _, file := range append(s.FileSources, append(s.EnvSources, s.EnvSource)...) {
			if _, value, found := strings.Cut(file, "="); found {
				file = value
			}
			out = append(out, file)
		}
	}
	for _, g := range k.ConfigMapGenerator {
		files(g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		files(g.KvPairSources)
	}
	return out
}
