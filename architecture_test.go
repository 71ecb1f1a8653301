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
	"internal/report":   {},
	"internal/config":   {"internal/report"},
	"internal/gitflow":  {"internal/config", "internal/report"},
	"internal/manifest": {"internal/report"},
	"internal/image":    {"internal/report"},
	"internal/pipeline": {"internal/report"},
	"internal/tool":     {},
	"internal/engine":   {"internal/report", "internal/tool"},
	"internal/session":  {"internal/engine", "internal/report", "internal/tool"},
	// What aksflow.yaml says in the terms of pipeline: for deliver, and for the Dagger module.
	"internal/configured": {"internal/config", "internal/pipeline"},
	"internal/render":     {"internal/manifest", "internal/report"},
	"internal/deploy":     {"internal/render", "internal/report"},
	"internal/gitops":     {"internal/manifest", "internal/deploy/status", "internal/report"},
	"internal/deliver": {
		"internal/config", "internal/configured", "internal/deploy", "internal/gitflow", "internal/gitops", "internal/image",
		"internal/manifest", "internal/pipeline", "internal/render", "internal/report",
	},
	"internal/command": {
		"internal/config", "internal/deliver", "internal/deploy", "internal/gitflow", "internal/gitops", "internal/image",
		"internal/manifest", "internal/pipeline", "internal/render", "internal/report", "internal/session", "test/platform",
	},
}

// owners lists the libraries that only some packages may import themselves, because of their weight or their power.
var owners = map[string][]string{
	"github.com/moby/buildkit": {"internal/engine"},
	"k8s.io/client-go":         {"internal/deploy", "internal/gitops"},
	"dagger.io/dagger":         {"internal/engine", "internal/session", "internal/pipeline", "internal/configured", "internal/deliver", "internal/command"},
	"github.com/spf13/cobra":   {"internal/command"},
}

// offline lists the packages that must not be able to reach a network, directly or through what they import.
var offline = []string{"internal/config", "internal/gitflow", "internal/manifest"}

type goPackage struct {
	ImportPath    string
	Imports, Deps []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", ".", "./internal/...")
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

func TestArrowsPointOneWay(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for from, to := range arrows {
			if !within(name, from) {
				continue
			}
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
		if within(name, "internal/pipeline") {
			for _, dep := range p.Deps {
				if within(dep, "k8s.io/client-go", "github.com/moby/buildkit") {
					t.Errorf("internal/pipeline depends on %s: a cold `dagger call` would compile it", dep)
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
		known := false
		for from := range arrows {
			known = known || within(name, from)
		}
		if !known {
			t.Errorf("%s is not in arrows: say what it may import", name)
		}
	}
}
