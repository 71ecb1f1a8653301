// Package storage keeps artifacts, the archives that one controller makes for another, as files.
package storage

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/artifact/config"
	intdigest "github.com/fluxcd/pkg/artifact/digest"
	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
	"github.com/opencontainers/go-digest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Storage is a directory with a directory for each object: KIND/NAMESPACE/NAME/FILE.
type Storage struct {
	BasePath                 string
	Hostname                 string // in URLs
	ArtifactRetentionTTL     time.Duration
	ArtifactRetentionRecords int

	locks *sync.Map // object's directory to *sync.Mutex
}

// New is the storage that options describe.
func New(o *config.Options) (*Storage, error) {
	if info, err := os.Stat(o.StoragePath); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("no directory to store artifacts in: %q", o.StoragePath)
	}
	return &Storage{
		BasePath: o.StoragePath, Hostname: cmp.Or(o.StorageAdvAddress, o.StorageAddress),
		ArtifactRetentionTTL: o.ArtifactRetentionTTL, ArtifactRetentionRecords: o.ArtifactRetentionRecords,
		locks: new(sync.Map),
	}, nil
}

// NewArtifactFor describes a file of an object; it does not exist yet.
func (s Storage) NewArtifactFor(kind string, object metav1.Object, revision, fileName string) meta.Artifact {
	a := meta.Artifact{
		Path:     path.Join(strings.ToLower(kind), object.GetNamespace(), object.GetName(), fileName),
		Revision: revision,
	}
	s.SetArtifactURL(&a)
	return a
}

// SetArtifactURL makes the URL fit the path and this server.
func (s Storage) SetArtifactURL(a *meta.Artifact) {
	if a.Path == "" {
		return
	}
	a.URL = s.url(a.Path)
}

func (s Storage) url(path string) string {
	host := s.Hostname
	if !strings.Contains(host, "://") {
		host = "http://" + host
	}
	return strings.TrimSuffix(host, "/") + "/" + strings.TrimPrefix(path, "/")
}

// SetHostname returns the URL with this server as its host.
func (s Storage) SetHostname(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return s.url(u.Path)
}

// LocalPath is the artifact's file, below the storage whatever the artifact says.
func (s Storage) LocalPath(a meta.Artifact) string {
	if a.Path == "" {
		return ""
	}
	p, err := securejoin.SecureJoin(s.BasePath, a.Path)
	if err != nil {
		return ""
	}
	return p
}

// MkdirAll makes the object's directory.
func (s Storage) MkdirAll(a meta.Artifact) error {
	return os.MkdirAll(filepath.Dir(s.LocalPath(a)), 0o700)
}

// Remove removes the artifact's file.
func (s Storage) Remove(a meta.Artifact) error { return os.Remove(s.LocalPath(a)) }

// RemoveAll removes the object's directory, and returns it if it was there.
func (s Storage) RemoveAll(a meta.Artifact) (string, error) {
	dir := filepath.Dir(s.LocalPath(a))
	if _, err := os.Stat(dir); err != nil {
		return "", nil
	}
	return dir, os.RemoveAll(dir)
}

// GarbageCollect removes what the artifact replaced long enough ago, and returns the files.
func (s Storage) GarbageCollect(_ context.Context, a meta.Artifact, _ time.Duration) ([]string, error) {
	current := s.LocalPath(a)
	entries, err := os.ReadDir(filepath.Dir(current))
	if err != nil {
		return nil, err
	}
	type old struct {
		path string
		time time.Time
	}
	var olds []old
	for _, e := range entries {
		info, err := e.Info()
		p := filepath.Join(filepath.Dir(current), e.Name())
		if err != nil || !info.Mode().IsRegular() || p == current {
			continue
		}
		olds = append(olds, old{p, info.ModTime()})
	}
	slices.SortFunc(olds, func(x, y old) int { return y.time.Compare(x.time) })
	var removed []string
	for i, o := range olds {
		if i+1 < s.ArtifactRetentionRecords && time.Since(o.time) < s.ArtifactRetentionTTL {
			continue
		}
		if err := os.Remove(o.path); err != nil {
			return removed, err
		}
		removed = append(removed, o.path)
	}
	return removed, nil
}

// ArtifactExist tells whether the artifact's file is there.
func (s Storage) ArtifactExist(a meta.Artifact) bool {
	info, err := os.Lstat(s.LocalPath(a))
	return err == nil && info.Mode().IsRegular()
}

// VerifyArtifact compares the file with the artifact's digest.
func (s Storage) VerifyArtifact(a meta.Artifact) error {
	want, err := digest.Parse(a.Digest)
	if err != nil {
		return fmt.Errorf("the artifact's digest: %w", err)
	}
	f, err := os.Open(s.LocalPath(a))
	if err != nil {
		return err
	}
	defer f.Close()
	verifier := want.Verifier()
	if _, err := io.Copy(verifier, f); err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("the file does not have the artifact's digest %s", want)
	}
	return nil
}

// ArchiveFileFilter tells what stays out of an archive.
type ArchiveFileFilter func(path string, info os.FileInfo) bool

// SourceIgnoreFilter leaves out what Flux ignores by default and what the patterns say.
func SourceIgnoreFilter(patterns []gitignore.Pattern, domain []string) ArchiveFileFilter {
	matcher := sourceignore.NewDefaultMatcher(patterns, domain)
	return func(path string, info os.FileInfo) bool {
		return matcher.Match(strings.Split(path, string(filepath.Separator)), info.IsDir())
	}
}

// Archive stores the files of a directory. The same files give the same bytes.
func (s Storage) Archive(a *meta.Artifact, dir string, filter ArchiveFileFilter) error {
	return s.write(a, func(w io.Writer) error {
		zipped := gzip.NewWriter(w)
		archive := tar.NewWriter(zipped)
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
				return err // links are not followed out of a repository
			}
			if filter != nil && filter(p, info) {
				if info.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil || info.IsDir() {
				return err
			}
			header := &tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: info.Size(), Format: tar.FormatPAX}
			if info.Mode()&0o111 != 0 {
				header.Mode = 0o700
			}
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(archive, f)
			return err
		})
		return errors.Join(err, archive.Close(), zipped.Close())
	})
}

// Copy stores what r has.
func (s Storage) Copy(a *meta.Artifact, r io.Reader) error {
	return s.write(a, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// CopyFromPath stores a file.
func (s Storage) CopyFromPath(a *meta.Artifact, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.Copy(a, f)
}

// CopyToPath is for sources that include others, which the local platform has none of.
func (s Storage) CopyToPath(*meta.Artifact, string, string) error {
	return errors.New("including another source is not possible here")
}

// write replaces the artifact's file whole and says in the artifact what it is.
func (s Storage) write(a *meta.Artifact, content func(io.Writer) error) (err error) {
	target := s.LocalPath(*a)
	f, err := os.CreateTemp(filepath.Dir(target), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // renamed when all went well
	digester := intdigest.Canonical.Digester()
	size := new(counter)
	err = content(io.MultiWriter(f, digester.Hash(), size))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(f.Name(), 0o600); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return err
	}
	a.Digest = digester.Digest().String()
	a.LastUpdateTime = metav1.Now()
	a.Size = (*int64)(size)
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// Symlink points a second name at the artifact's file, and returns that name's URL.
func (s Storage) Symlink(a meta.Artifact, name string) (string, error) {
	target := s.LocalPath(a)
	link := filepath.Join(filepath.Dir(target), name)
	if err := os.Remove(link + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.Symlink(filepath.Base(target), link+".new"); err != nil {
		return "", err
	}
	if err := os.Rename(link+".new", link); err != nil {
		return "", err
	}
	return s.url(path.Join(path.Dir(a.Path), name)), nil
}

// Lock keeps others of this process from the object's files.
func (s Storage) Lock(a meta.Artifact) (unlock func(), err error) {
	lock, _ := s.locks.LoadOrStore(path.Dir(a.Path), new(sync.Mutex))
	lock.(*sync.Mutex).Lock()
	return lock.(*sync.Mutex).Unlock, nil
}
