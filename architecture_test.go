package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/aksflow/aksflow/"

// arrows lists, for each package of this module, the packages of this module that it may import. They point one way,
// so the list is also a reading order, from the leaves up.
var arrows = map[string][]string{
	"internal/core/fault":     {},
	"internal/core/report":    {},
	"internal/core/config":    {"internal/core/fault", "internal/core/image/ref"},
	"internal/core/gitflow":   {"internal/core/config", "internal/core/fault"},
	"internal/core/manifest":  {"internal/core/fault", "internal/core/image/ref", "internal/core/report"},
	"internal/core/image":     {"internal/core/fault", "internal/core/report"},
	"internal/core/image/ref": {},
	"internal/core/build":     {"internal/core/config", "internal/core/fault", "internal/core/report"},
	"internal/core/delivery":  {"internal/core/config", "internal/core/manifest"},
	"internal/target":         {"internal/core/delivery"},
	"internal/tool":           {},
	"internal/testing":        {"internal/core/report", "internal/localplatform", "internal/tool"},
	"internal/engine":         {"internal/core/fault", "internal/core/report", "internal/tool"},
	"internal/localplatform":  {"internal/core/fault", "internal/core/report", "internal/tool"},
	"internal/render":         {"internal/core/fault", "internal/core/image/ref", "internal/core/manifest", "internal/core/report"},
	"internal/kube":           {"internal/core/fault", "internal/core/report", "internal/render"},
	"internal/target/cluster": {"internal/core/fault", "internal/core/image/ref", "internal/core/manifest", "internal/core/report", "internal/kube", "internal/render"},
	"internal/target/gitops":  {"internal/core/fault", "internal/core/image/ref", "internal/core/manifest", "internal/core/report", "internal/kube"},
	"internal/flow": {
		"internal/core", "internal/render", "internal/target/cluster", "internal/target/gitops",
	},
	"internal/cli": {
		"internal/core", "internal/engine", "internal/flow", "internal/kube/diff", "internal/localplatform", "internal/render",
		"internal/target/cluster", "internal/target/gitops",
	},
}

// owners lists the libraries that only some packages may import themselves, because of their weight or their power.
var owners = map[string][]string{
	"github.com/moby/buildkit": {"internal/engine"},
	"k8s.io/client-go":         {"internal/kube", "internal/target", "internal/testing"},
	"dagger.io/dagger":         {"internal/engine", "internal/core/build", "internal/flow", "internal/cli"},
	"github.com/spf13/cobra":   {"internal/cli"},
}

// offline lists the packages that must not be able to reach a network, directly or through what they import.
var offline = []string{"internal/core/config", "internal/core/gitflow", "internal/core/manifest"}

type goPackage struct {
	ImportPath    string
	Imports, Deps []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", ".", module+"internal/...")
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

// within says whether path is one of the roots or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// room returns the entry of arrows that holds for a package: the longest path that the package stands at or below.
func room(name string) (from string, to []string, known bool) {
	for path := range arrows {
		if within(name, path) && len(path) > len(from) {
			from = path
		}
	}
	return from, arrows[from], from != ""
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if from, to, known := room(name); known {
			for _, imported := range p.Imports {
				local, ours := strings.CutPrefix(imported, module)
				if ours && !within(local, from) && !within(local, to...) {
					t.Errorf("%s imports %s: not one of its arrows %v", name, local, to)
				}
			}
		}
		for library, allowed := range owners {
			if within(name, allowed...) {
				continue
			}
			for _, imported := range p.Imports {
				if within(imported, library) {
					t.Errorf("%s imports %s: only %v may", name, imported, allowed)
				}
			}
		}
		if within(name, offline...) && slices.Contains(p.Deps, "net/http") {
			t.Errorf("%s can reach the network: it depends on net/http", name)
		}
		if within(name, "internal/core/build") {
			for _, dep := range p.Deps {
				if within(dep, "k8s.io/client-go", "github.com/moby/buildkit") {
					t.Errorf("internal/core/build depends on %s: a cold `dagger call` would compile it", dep)
				}
			}
		}
	}
}

func TestEveryPackageHasItsArrows(t *testing.T) {
	for _, p := range listPackages(t) {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || name == "" {
			continue
		}
		if _, _, known := room(name); !known {
			t.Errorf("%s is not in arrows: say what it may import", name)
		}
	}
}
