package git

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/memfs"
	billyutil "github.com/go-git/go-billy/v5/util"
)

// alternatesFile names, in a repository and in each directory of objects, the further directories of objects that it borrows
// from (gitrepository-layout(5)): `git clone --shared` and `--reference` write it, as the mirrors of CI systems do.
const alternatesFile = "objects/info/alternates"

// alternates returns the directories that a directory of objects borrows from, directly or through another one. A path in the
// file is relative to the directory; one that begins with a quote is quoted as in C.
func alternates(objects string, known []string) ([]string, error) {
	file := filepath.Join(objects, "info", "alternates")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if unquoted, err := strconv.Unquote(line); err == nil {
			line = unquoted
		}
		if !filepath.IsAbs(line) {
			line = filepath.Join(objects, line)
		}
		if line = filepath.Clean(line); slices.Contains(known, line) {
			continue
		}
		if info, err := os.Stat(line); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("%s names %s, which is not there: this clone has a part of its objects in that directory; a new clone of where it came from has them all", file, line)
		}
		if known, err = alternates(line, append(known, line)); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// borrowing is a repository whose list of alternates is another one.
type borrowing struct {
	billy.Filesystem
	listed billy.Filesystem
}

// withAlternates returns the files of a repository with a list of what it borrows that go-git can follow, as it does not follow
// the file by a relative path, and not from one to the next. The list is for a storage whose AlternatesFS is the whole machine.
func withAlternates(files billy.Filesystem, objects string) (billy.Filesystem, error) {
	borrowed, err := alternates(objects, nil)
	if err != nil || len(borrowed) == 0 {
		return files, err
	}
	listed := memfs.New()
	return borrowing{files, listed}, billyutil.WriteFile(listed, alternatesFile, []byte(strings.Join(borrowed, "\n")), 0o600)
}

func (b borrowing) Open(name string) (billy.File, error) {
	if filepath.ToSlash(name) == alternatesFile {
		return b.listed.Open(name)
	}
	return b.Filesystem.Open(name)
}
