package render

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/kustomize"
)

// Chart renders a Helm chart that stands in a file system, in memory and as `helm template` does, to a YAML stream. It
// implements [manifest.Options].Chart.
func Chart(ctx context.Context, fsys fs.FS, r manifest.ChartRelease) ([]byte, error) {
	options := Options{}
	for i, text := range r.Values {
		values, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("values %d: %w", i+1, err)
		}
		options.Values = append(options.Values, Values{Inline: values, Origin: fmt.Sprintf("values %d", i+1)})
	}
	for _, set := range r.Set {
		options.Set = append(options.Set, strings.ReplaceAll(set, ",", `\,`))
	}
	files, err := chartFiles(fsys, r.Dir)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	kustomize.Quietly(ctx, func() {
		loaded, failed := loader.LoadFiles(files)
		if failed != nil {
			err = fmt.Errorf("reading the Helm chart %s: %w", r.Dir, failed)
			return
		}
		c, failed := newChart(ctx, r.Dir, loaded, options)
		if failed != nil {
			err = failed
			return
		}
		objects, failed := c.objects(ctx)
		err = failed
		for _, o := range objects {
			text, failed := sigsyaml.Marshal(o.Object)
			if failed != nil {
				err = failed
			}
			out.WriteString("---\n")
			out.Write(text)
		}
	})
	return out.Bytes(), err
}

// chartFiles reads the files of a chart. Those below a hidden directory are none of it.
func chartFiles(fsys fs.FS, dir string) ([]*archive.BufferedFile, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != dir && strings.HasPrefix(path.Base(name), "."):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(strings.TrimPrefix(name, dir), "/"), Data: content})
		return nil
	})
	return files, err
}
