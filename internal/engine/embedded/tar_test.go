package embedded

import (
	"archive/tar"
	"io"
	"os"
)

// tarDirectory writes a directory's files to an archive.
func tarDirectory(w io.Writer, dir string) error {
	t := tar.NewWriter(w)
	if err := t.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return t.Close()
}
