package manifest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

var (
	propertyImage  = "registry.example.com:5000/shop/vote:1.2.0@sha256:" + strings.Repeat("0123456789abcdef", 4)
	propertyTarget = Target{Image: propertyImage, Replace: []string{"shop/vote"}}
)

// testBuild renders a kustomization with kustomize itself. (Package kustomize, which the command uses, depends on this one.)
func testBuild(_ context.Context, fsys fs.FS, dir string) ([]byte, error) {
	memory := filesys.MakeFsInMemory()
	remote := false
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		remote = remote || edit.IsKustomization(name) && bytes.Contains(content, []byte("://"))
		return memory.WriteFile("/"+name, content)
	})
	if err != nil {
		return nil, err
	}
	if remote {
		return nil, fmt.Errorf("%w: it names a remote base", ErrNotRendered)
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	built, err := krusty.MakeKustomizer(options).Run(memory, path.Join("/", dir))
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}
