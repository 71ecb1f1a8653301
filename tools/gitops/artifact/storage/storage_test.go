package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/artifact/config"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newStorage(t *testing.T) *Storage {
	t.Helper()
	s, err := New(&config.Options{
		StoragePath: t.TempDir(), StorageAdvAddress: "host:9", ArtifactRetentionTTL: time.Hour, ArtifactRetentionRecords: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func store(t *testing.T, s *Storage, file, content string) meta.Artifact {
	t.Helper()
	a := s.NewArtifactFor("GitRepository", &metav1.ObjectMeta{Namespace: "team", Name: "app"}, "main", file)
	if err := s.MkdirAll(a); err != nil {
		t.Fatal(err)
	}
	if err := s.Copy(&a, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestArtifact(t *testing.T) {
	s := newStorage(t)
	a := store(t, s, "1.txt", "content")
	if a.URL != "http://host:9/gitrepository/team/app/1.txt" || *a.Size != 7 || !s.ArtifactExist(a) {
		t.Errorf("%+v", a)
	}
	if err := s.VerifyArtifact(a); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(s.LocalPath(a), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyArtifact(a); err == nil {
		t.Error("a changed file has the digest of the old one")
	}
	if p := s.LocalPath(meta.Artifact{Path: "../../x"}); !strings.HasPrefix(p, s.BasePath) {
		t.Errorf("a path leads out of the storage to %s", p)
	}
}

func TestArchiveIsTheSameForTheSameFiles(t *testing.T) {
	s := newStorage(t)
	var digests []string
	for range 2 {
		dir := t.TempDir()
		for _, name := range []string{"b", "a/c", ".git/HEAD"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(dir[:1]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		a := store(t, s, "x.tar.gz", "")
		if err := s.Archive(&a, dir, SourceIgnoreFilter(nil, nil)); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, a.Digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("%q", digests)
	}
}

func TestGarbageCollect(t *testing.T) {
	s := newStorage(t)
	var newest meta.Artifact
	for i, file := range []string{"1", "2", "3"} {
		newest = store(t, s, file, file)
		when := time.Now().Add(time.Duration(i-3) * time.Minute)
		if err := os.Chtimes(s.LocalPath(newest), when, when); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := s.GarbageCollect(t.Context(), newest, 0)
	if err != nil || len(removed) != 1 || filepath.Base(removed[0]) != "1" {
		t.Errorf("removed %q: %v", removed, err)
	}
}
