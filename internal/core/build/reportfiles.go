package build

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"dagger.io/dagger"
)

// reportFiles are the XML files in a directory of reports.
type reportFiles struct {
	texts   map[string]string // by their paths in it
	names   []string          // of what is right in it
	missing bool              // there is no such directory
}

// maxOthers bounds how many names a message has.
const maxOthers = 5

// others names what is in the directory instead of XML files.
func (f reportFiles) others() string {
	if len(f.names) == 0 {
		return ", which is empty"
	}
	more := ""
	if len(f.names) > maxOthers {
		more = ", …"
	}
	return ", which has " + strings.Join(f.names[:min(len(f.names), maxOthers)], ", ") + more
}

// notInFileNames matches what the names of files on other systems must not have; artifacts of GitHub's workflows neither.
var notInFileNames = regexp.MustCompile(`[/\\":<>|*?[:cntrl:]]`)

// xmlFiles reads the XML files below the directory of reports, which may also be a single file.
func (r *runner) xmlFiles(ctx context.Context, ctr *dagger.Container) (found reportFiles, err error) {
	found.texts = map[string]string{}
	dir := r.reportDir()
	root := ctr.Directory(dir)
	if found.names, err = root.Entries(ctx); err == nil && len(found.names) == 0 {
		return found, nil
	}
	if err == nil {
		return found, r.fetch(ctx, ctr, root, found.texts)
	}
	if there, existsErr := ctr.Exists(ctx, dir); existsErr != nil || !there {
		found.missing = true
		return found, context.Cause(ctx)
	}
	text, fileErr := contents(ctx, ctr.File(dir))
	if fileErr != nil {
		if strings.Contains(err.Error(), "invalid UTF-8") {
			return found, fmt.Errorf("reading their reports: a file in %s has a name that is not UTF-8: %w", dir, err)
		}
		return found, fmt.Errorf("reading their reports in %s: %w", dir, err)
	}
	found.texts[path.Base(dir)] = text
	return found, nil
}

// fetch reads the XML files of a directory, all at once: some runners write one for each of hundreds of classes.
func (r *runner) fetch(ctx context.Context, ctr *dagger.Container, root *dagger.Directory, texts map[string]string) error {
	to, err := os.MkdirTemp("", "aksflow-reports-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(to)
	only := r.client.Directory().WithDirectory("/", root, dagger.DirectoryWithDirectoryOpts{Include: []string{"**/*.[xX][mM][lL]"}})
	if to, err = only.Export(ctx, to); err != nil {
		return fmt.Errorf("reading their reports in %s: %w", r.reportDir(), err)
	}
	return filepath.WalkDir(to, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(file), ".xml") {
			return err
		}
		name, err := filepath.Rel(to, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case d.Type().IsRegular():
			data, err := os.ReadFile(file)
			texts[name] = string(data)
			return err
		case d.Type() != fs.ModeSymlink: // a pipe, of which nobody knows what came out
			return nil
		}
		// What a link points to is in the container, and not on this machine.
		if there, err := ctr.Exists(ctx, path.Join(r.reportDir(), name)); err != nil || !there {
			return err
		}
		texts[name], err = contents(ctx, root.File(name))
		if err != nil {
			return fmt.Errorf("reading their report %s: %w", path.Join(r.reportDir(), name), err)
		}
		return nil
	})
}

// contents reads a file. The API returns texts in UTF-8, in which other bytes are replaced; a file with such bytes is
// exported.
func contents(ctx context.Context, file *dagger.File) (string, error) {
	text, err := file.Contents(ctx)
	if err != nil || !strings.ContainsAny(text, "\ufffd\x00") {
		return text, err
	}
	dir, err := os.MkdirTemp("", "aksflow-report-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	exported, err := file.Export(ctx, filepath.Join(dir, "report.xml"))
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(exported)
	return string(data), err
}
