package render

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
)

// directory reads every manifest below dir, in the order of their names. Hidden files and directories are left out, as
// kubectl and Argo CD do.
func directory(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !isManifest(path) || !isFile(path) {
			return nil
		}
		if slices.Contains(kustomizationNames, entry.Name()) {
			return fmt.Errorf("%s is a kustomization in a directory of plain manifests: give the path %s instead, or add a kustomization.yaml to %s that names what is deployed", path, filepath.Dir(path), dir)
		}
		read, err := file(ctx, path)
		objects = append(objects, read...)
		return err
	})
	return objects, err
}

// isManifest reports whether a file has one of the names that `kubectl apply -f DIRECTORY` reads.
func isManifest(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func file(ctx context.Context, path string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decode(path, data, warner(ctx))
}

func warner(ctx context.Context) func(string, ...any) {
	return func(format string, args ...any) { report.Warn(ctx, format, args...) }
}
