package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/aksflow/aksflow/"

// arrows lists what the packages of this repository may import of each other: "ROOM: IMPORTED IMPORTED…", each a path
// below the module. A room is a package with those below it that have no line of their own. Every package has a room,
// and every arrow is used. The arrows point one way, so the list is also a reading order, from the leaves up.
//
// All may import the leaves. Tests may import what their room may, internal/testing, and what testArrows adds.
const arrows = `
internal/core/fault:
internal/core/dial:
internal/core/report:
internal/core/image/ref:
internal/core/gate:
internal/core/encoding:
internal/core/config: internal/core/encoding internal/core/gate
internal/core/manifest: internal/core/encoding
internal/core/delivery: internal/core/config internal/core/gate internal/core/manifest
internal/core/gitflow: internal/core/config
internal/core/image:
internal/core/build: internal/core/config internal/core/image
internal/tool:
internal/kustomize: internal/core/manifest
internal/render: internal/core/manifest internal/kustomize
internal/kube:
internal/git:
internal/target: internal/core/gitflow
internal/target/cluster: internal/core/config internal/core/manifest internal/kube internal/render internal/target
internal/target/gitops: internal/core/config internal/core/manifest internal/git internal/kustomize internal/render internal/target
internal/target/gitops/wait: internal/core/config internal/core/manifest internal/git internal/kube
internal/engine: internal/core/image internal/tool
internal/engine/conformance:
internal/localplatform: internal/tool
internal/localplatform/server: internal/localplatform internal/tool
internal/azure: internal/core manifests
internal/proof: internal/core/image
internal/proof/sbom: internal/core/image
internal/testing: internal/core/image internal/kube internal/localplatform internal/tool
internal/flow: internal/core internal/git internal/kube internal/kustomize internal/proof internal/render internal/target
internal/doctor: internal/core internal/flow
internal/dev: internal/core internal/flow internal/git internal/kube internal/target
internal/adopt/compose:
internal/adopt/declared:
internal/adopt: internal/adopt/compose internal/adopt/declared internal/core internal/render schema
internal/page:
internal/cli: internal/adopt internal/azure internal/core internal/dev internal/doctor internal/engine internal/flow internal/git internal/kube internal/localplatform internal/page schema
.: internal/cli
cmd/aksflow-platform: internal/localplatform
ci: internal/core
manifests:
schema:
test/action:
test/azure:
test/build:
test/e2e:
test/module:
test/release:
test/run:
tools:
`

// leaves lists the packages that all others may import.
var leaves = []string{"internal/core/fault", "internal/core/report", "internal/core/dial", "internal/core/image/ref", "internal/core/delivery"}

// testArrows lists what the tests of a room import beyond its arrows.
const testArrows = `
internal/engine: internal/core/build
internal/engine/conformance: internal/engine internal/localplatform/baseimage
manifests: internal/render
internal/render: internal/tool
internal/azure: internal/core/image internal/kube internal/localplatform/standin
schema: internal/core/config
test/action: internal/engine internal/localplatform/baseimage
test/azure: internal/localplatform
internal/page: internal/core/gate internal/core/manifest
test/build: internal/core/build internal/core/config internal/engine internal/flow internal/localplatform/baseimage
test/e2e: internal/localplatform
test/module: internal/core/image internal/engine internal/localplatform/baseimage internal/localplatform/standin
test/release: internal/localplatform/baseimage
test/run: internal/localplatform/baseimage
`

// owners lists the libraries that only some rooms may import, because of their weight or their power.
var owners = map[string][]string{
	"github.com/moby/buildkit": {"internal/engine"},
	"k8s.io/client-go":         {"internal/kube", "internal/target", "internal/testing"},
	"dagger.io/dagger":         {"ci", "internal/engine", "internal/core/build", "internal/flow", "internal/cli"},
	"github.com/spf13/cobra":   {"internal/cli"},
	"github.com/Azure":         {"internal/azure"},
	"github.com/AzureAD":       {"internal/azure"},
	"github.com/sigstore":      {"internal/proof", "internal/testing"},
}

// offline lists the rooms that must not be able to reach a network, neither directly nor through what they import.
var offline = []string{"internal/core/config", "internal/core/gate", "internal/core/gitflow", "internal/core/manifest", "internal/core/image/ref"}

// unlinked lists, for each of some packages, what must not be linked into it at all.
var unlinked = map[string][]string{
	// The command that CI runs holds the client of the local platform, not the platform.
	"": {module + "internal/localplatform/server", module + "internal/localplatform/baseimage", "github.com/vishvananda/netlink"},
	// A cold `dagger call` compiles everything that the module imports.
	"internal/core/build": {"k8s.io/client-go", "github.com/moby/buildkit", "helm.sh/helm"},
}

// parseArrows reads a list of arrows.
func parseArrows(t *testing.T, list string) map[string][]string {
	t.Helper()
	parsed := map[string][]string{}
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		room, to, ok := strings.Cut(line, ":")
		if _, twice := parsed[room]; !ok || twice {
			t.Fatalf("arrows: %q: want one line ROOM: IMPORTED…", line)
		}
		parsed[room] = strings.Fields(to)
	}
	return parsed
}

// within reports whether path is one of the roots or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// roomOf returns the most specific room that a package belongs to, or "" for none.
func roomOf(rooms map[string][]string, path string) string {
	best := ""
	for room := range rooms {
		if within(path, room) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

func TestArrows(t *testing.T) {
	allowed, tests := parseArrows(t, arrows), parseArrows(t, testArrows)
	used := map[string]bool{} // "kind room import"
	check := func(p sourcePackage, room string, imported map[string][]string, kind string, lists ...[]string) {
		for _, path := range slices.Sorted(maps.Keys(imported)) {
			local, ours := strings.CutPrefix(path, module)
			if !ours || roomOf(allowed, local) == room || slices.Contains(leaves, local) {
				continue
			}
			found := false
			for i, list := range lists {
				for _, to := range list {
					if within(local, to) {
						found = true
						used[[]string{"arrows", "testArrows", "testing"}[i]+" "+room+" "+to] = true
					}
				}
			}
			if !found {
				t.Errorf("%s imports %s, which is not in %s", imported[path][0], local, kind)
			}
		}
	}
	for _, p := range sourcePackages(t) {
		room := roomOf(allowed, p.path)
		if room == "" {
			t.Errorf("package %s is not in arrows: add a line that says what it may import", p.path)
			continue
		}
		check(p, room, p.imports, "arrows", allowed[room])
		check(p, room, p.testImports, "arrows and testArrows", allowed[room], tests[room], []string{"internal/testing"})
	}
	for name, list := range map[string]map[string][]string{"arrows": allowed, "testArrows": tests} {
		for room, imported := range list {
			for _, to := range imported {
				if !used[name+" "+room+" "+to] {
					t.Errorf("%s: %s does not import %s: remove it", name, room, to)
				}
			}
			if _, known := allowed[room]; !known {
				t.Errorf("testArrows: %s is not a room of arrows", room)
			}
		}
	}
}

func TestLibrariesHaveOwners(t *testing.T) {
	for _, p := range sourcePackages(t) {
		for library, rooms := range owners {
			for path, files := range p.imports {
				if within(path, library) && !within(p.path, rooms...) && !within(p.path, "tools") {
					t.Errorf("%s imports %s: only %v may", files[0], path, rooms)
				}
			}
		}
	}
}

func TestDependencies(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, strings.TrimSuffix(module, "/")), "/")
		if within(name, offline...) && slices.Contains(p.Deps, "net/http") {
			t.Errorf("%s can reach the network: it depends on net/http", name)
		}
		for _, dep := range p.Deps {
			if roots := unlinked[name]; len(roots) > 0 && within(dep, roots...) {
				t.Errorf("package %q depends on %s", name, dep)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Deps       []string
}

// listPackages asks the go command for the packages of the root module and of internal/core, with all that they depend on.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-json=ImportPath,Deps", ".", module+"internal/...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
