package declared

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// skaffoldFile is the part of a document of skaffold.yaml that is looked at, of all versions since skaffold/v1.
// https://skaffold.dev/docs/references/yaml/
type skaffoldFile struct {
	APIVersion      string `yaml:"apiVersion"`
	Requires        []skaffoldRequire
	skaffoldProfile `yaml:",inline"`
	Profiles        []skaffoldProfile
}

type skaffoldRequire struct {
	Path string
	Git  struct{ Repo string }
}

// skaffoldProfile is what profiles can replace.
type skaffoldProfile struct {
	Build     struct{ Artifacts []skaffoldArtifact }
	Manifests skaffoldManifests
	Deploy    struct {
		Kubectl   struct{ Manifests []string }
		Kustomize struct{ Paths []string }
		Helm      skaffoldHelm
	}
}

type skaffoldManifests struct {
	RawYAML   []string `yaml:"rawYaml"`
	Kustomize struct{ Paths []string }
	Helm      skaffoldHelm
}

type skaffoldHelm struct {
	Releases []struct {
		ChartPath string `yaml:"chartPath"`
	}
}

// skaffoldArtifact is an image. A node is there where a key is, whatever its value is.
type skaffoldArtifact struct {
	Image, Context                     string
	Docker, Kaniko                     *skaffoldDocker
	Jib, Ko, Buildpacks, Bazel, Custom yaml.Node
}

type skaffoldDocker struct {
	Dockerfile, Target string
	BuildArgs          map[string]*string `yaml:"buildArgs"`
}

// skaffold reads the documents of a skaffold.yaml, and the files that it requires.
func (r *reader) skaffold(name string) {
	if r.seen[name] {
		return
	}
	r.seen[name] = true
	text, err := r.read(name)
	if err != nil {
		return
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var file skaffoldFile
		err := decoder.Decode(&file)
		if errors.Is(err, io.EOF) {
			return
		}
		if !r.decoded(name, err) {
			return
		}
		if !strings.HasPrefix(file.APIVersion, "skaffold/") {
			continue
		}
		r.skaffoldDocument(name, file)
	}
}

// skaffoldDocument adds the images of a document. What the profiles say comes after what holds without one.
func (r *reader) skaffoldDocument(name string, file skaffoldFile) {
	dir := path.Dir(name)
	for _, required := range file.Requires {
		switch {
		case required.Git.Repo != "":
			r.notice("%s requires %s: what is in another repository is not looked at", name, required.Git.Repo)
		case required.Path != "":
			at := path.Join(dir, required.Path)
			if ext := path.Ext(at); ext != ".yaml" && ext != ".yml" {
				at = path.Join(at, "skaffold.yaml")
			}
			r.skaffold(at)
		}
	}
	manifests := file.paths(dir)
	artifacts := file.Build.Artifacts
	for _, profile := range file.Profiles {
		manifests = append(manifests, profile.paths(dir)...)
		for _, a := range profile.Build.Artifacts {
			if !slices.ContainsFunc(artifacts, func(other skaffoldArtifact) bool { return other.Image == a.Image }) {
				artifacts = append(artifacts, a)
			}
		}
	}
	if len(manifests) == 0 {
		manifests = []string{path.Join(dir, "k8s", "*.yaml")} // the default
	}
	for _, a := range artifacts {
		r.images = append(r.images, a.image(name, dir, manifests))
	}
}

// paths are the manifests that are deployed, as paths of the repository.
func (p skaffoldProfile) paths(dir string) (all []string) {
	for _, list := range [][]string{p.Manifests.RawYAML, p.Manifests.Kustomize.Paths, p.Deploy.Kubectl.Manifests, p.Deploy.Kustomize.Paths} {
		for _, name := range list {
			if !strings.Contains(name, "://") {
				all = append(all, path.Join(dir, name))
			}
		}
	}
	for _, helm := range []skaffoldHelm{p.Manifests.Helm, p.Deploy.Helm} {
		for _, release := range helm.Releases {
			if release.ChartPath != "" {
				all = append(all, path.Join(dir, release.ChartPath))
			}
		}
	}
	return all
}

// image is what an artifact says.
func (a skaffoldArtifact) image(name, dir string, manifests []string) Image {
	i := Image{File: name, Reference: a.Image, Context: path.Join(dir, a.Context), Manifests: manifests}
	for _, builder := range []struct {
		name string
		node yaml.Node
	}{{"Jib", a.Jib}, {"ko", a.Ko}, {"buildpacks", a.Buildpacks}, {"Bazel", a.Bazel}, {"a command of its own", a.Custom}} {
		if builder.node.Kind == 0 {
			continue
		}
		var of struct{ Project string } // of Jib: the directory of a module, or its coordinates
		if builder.node.Kind == yaml.MappingNode && builder.node.Decode(&of) == nil && !strings.Contains(of.Project, ":") {
			i.Context = path.Join(i.Context, of.Project)
		}
		i.Builder = builder.name
		return i
	}
	docker := cmp.Or(a.Docker, a.Kaniko, &skaffoldDocker{})
	i.Dockerfile, i.Target = path.Join(i.Context, cmp.Or(docker.Dockerfile, "Dockerfile")), docker.Target
	i.Args, i.Unset = values(docker.BuildArgs)
	return i
}
