package conformance

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// files judges directories and files: from the host, made, mounted, exported.
func (r *rig) files(t *testing.T) {
	t.Run("WithNewFile", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		d := r.Directory().WithNewFile("a/b/text", "ü\n").WithNewFile("a/empty", "").
			WithNewFile("run", "#!/bin/sh\necho ran\n", dagger.DirectoryWithNewFileOpts{Permissions: 0o755}).
			WithNewFile("twice", "first").WithNewFile("twice", "second")
		entries, err := d.Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"a/", "run", "twice"}, entries)
		entries, err = d.Entries(ctx, dagger.DirectoryEntriesOpts{Path: "a"})
		require.NoError(t, err)
		assert.Equal(t, []string{"b/", "empty"}, entries)
		for name, want := range map[string]string{"a/b/text": "ü\n", "a/empty": "", "twice": "second"} {
			got, err := d.File(name).Contents(ctx)
			require.NoError(t, err, name)
			assert.Equal(t, want, got, name)
		}
		entries, err = d.Directory("a/b").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"text"}, entries)
		out, err := r.base().WithMountedDirectory("/d", d).WithExec(bash("/d/run; stat -c '%a %n' /d/twice")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "ran\n644 /d/twice\n", out)
	})

	t.Run("NotThere", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		_, err := r.Directory().File("no/such").Contents(ctx)
		assert.ErrorContains(t, err, "no/such")
		_, err = r.Directory().Directory("no-such").Entries(ctx)
		assert.ErrorContains(t, err, "no-such")
		_, err = r.base().File("/no/such").Contents(ctx)
		assert.ErrorContains(t, err, "no/such")
		missing := filepath.Join(t.TempDir(), "missing")
		_, err = r.Host().Directory(missing).Entries(ctx)
		assert.ErrorContains(t, err, "missing")
	})

	t.Run("WithDirectoryAddsToTheImage", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.base().WithDirectory("/etc", r.dir(map[string]string{"added": "new", "hostname": "replaced"}))
		out, err := c.File("/etc/added").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "new", out)
		out, err = c.WithExec(bash("cat /etc/added; test -s /etc/passwd")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "new", out)
	})

	t.Run("WithFile", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		source := r.dir(map[string]string{"sub/one": "content\n"}).File("sub/one")
		name, err := source.Name(ctx)
		require.NoError(t, err)
		assert.Equal(t, "one", name)
		size, err := source.Size(ctx)
		require.NoError(t, err)
		assert.Equal(t, len("content\n"), size)
		out, err := r.base().
			WithFile("/two", source, dagger.ContainerWithFileOpts{Permissions: 0o600, Owner: "nobody"}).
			WithFile("/made/by/path", source).
			WithNewFile("/three", "new\n", dagger.ContainerWithNewFileOpts{Permissions: 0o640, Owner: "nobody:nogroup"}).
			WithExec(bash("cat /two /made/by/path /three; stat -c '%a %U' /two; stat -c '%a %U %G' /three")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "content\ncontent\nnew\n600 nobody\n640 nobody nogroup\n", out)
		entries, err := r.Directory().WithFile("a/copy", source).WithFile("a/other", source).Directory("a").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"copy", "other"}, entries)
	})

	t.Run("WithDirectoryChooses", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		source := r.dir(map[string]string{"a.py": "", "a.log": "", "sub/b.py": "", "sub/b.log": "", "other/c.py": ""})
		tree := func(d *dagger.Directory) string {
			out, err := r.base().WithMountedDirectory("/d", d).WithExec(bash("cd /d; find . -type f | LC_ALL=C sort")).Stdout(ctx)
			require.NoError(t, err)
			return strings.Join(strings.Fields(out), " ")
		}
		assert.Equal(t, "./x/a.py ./x/other/c.py ./x/sub/b.py",
			tree(r.Directory().WithDirectory("x", source, dagger.DirectoryWithDirectoryOpts{Exclude: []string{"**/*.log"}})))
		assert.Equal(t, "./sub/b.log ./sub/b.py",
			tree(r.Directory().WithDirectory("/", source, dagger.DirectoryWithDirectoryOpts{Include: []string{"sub"}})))
		opts := dagger.ContainerWithDirectoryOpts{Owner: "nobody", Exclude: []string{"other"}}
		out, err := r.base().WithDirectory("/d", source, opts).
			WithExec(bash("stat -c '%U %n' /d/*")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "nobody /d/a.log\nnobody /d/a.py\nnobody /d/sub\n", out)
	})

	t.Run("WithTimestamps", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		root := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(root, "d"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "d", "f"), nil, 0o640))
		for _, d := range []*dagger.Directory{r.Host().Directory(root), r.Directory().WithNewFile("d/f", "", dagger.DirectoryWithNewFileOpts{Permissions: 0o640})} {
			out, err := r.base().WithMountedDirectory("/t", d.WithTimestamps(315532800)).WithExec(bash("cd /t; stat -c '%Y %n' d; stat -c '%Y %a %n' d/f")).Stdout(ctx)
			require.NoError(t, err)
			assert.Equal(t, "315532800 d\n315532800 640 d/f\n", out)
		}
	})

	t.Run("LinksLeadOn", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.base().WithExec(bash(`mkdir -p "/real/with space"; echo found > "/real/with space/ünï"
			ln -s /real /absolute; ln -s "../real/with space" /real/relative`))
		for _, path := range []string{"/real/with space/ünï", "/absolute/with space/ünï", "/real/relative/ünï"} {
			out, err := c.File(path).Contents(ctx)
			require.NoError(t, err, path)
			assert.Equal(t, "found\n", out, path)
		}
		entries, err := c.Directory("/absolute").Entries(ctx)
		require.NoError(t, err)
		assert.Contains(t, entries, "with space/")
	})

	t.Run("MountsMayBeReadOnly", func(t *testing.T) {
		t.Parallel()
		source := r.dir(map[string]string{"f": "kept"})
		_, err := r.fresh().WithMountedDirectory("/m", source, dagger.ContainerWithMountedDirectoryOpts{ReadOnly: true}).
			WithExec(bash("echo changed > /m/f")).Sync(within(t))
		assert.Error(t, err)
		out, err := r.fresh().WithMountedDirectory("/m", source, dagger.ContainerWithMountedDirectoryOpts{Owner: "nobody"}).
			WithUser("nobody").WithExec(bash("stat -c '%U' /m/f; echo mine > /m/new; cat /m/new")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "nobody\nmine\n", out)
	})

	t.Run("MountsAreSeenAndKept", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.base().WithMountedDirectory("/work", r.dir(map[string]string{"in": "given"})).
			WithExec(bash("cat /work/in; echo made > /work/out"))
		out, err := c.WithExec(bash("cat /work/in /work/out")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "givenmade\n", out)
		made, err := c.File("/work/out").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "made\n", made)
		entries, err := c.Directory("/work").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"in", "out"}, entries)
	})

	t.Run("HostDirectory", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		dir := writeTree(t, map[string]string{"keep.txt": "k", "sub/keep.txt": "s", "sub/drop.log": "l", "drop.log": "l"})
		require.NoError(t, os.Symlink("keep.txt", filepath.Join(dir, "link")))
		require.NoError(t, os.Chmod(filepath.Join(dir, "keep.txt"), 0o640))
		list := func(opts ...dagger.HostDirectoryOpts) string {
			out, err := r.base().WithMountedDirectory("/d", r.Host().Directory(dir, opts...)).
				WithExec(bash("cd /d; find . -mindepth 1 | LC_ALL=C sort")).Stdout(ctx)
			require.NoError(t, err)
			return strings.Join(strings.Fields(out), " ")
		}
		assert.Equal(t, "./drop.log ./keep.txt ./link ./sub ./sub/drop.log ./sub/keep.txt", list())
		assert.Equal(t, "./keep.txt ./link ./sub ./sub/keep.txt", list(dagger.HostDirectoryOpts{Exclude: []string{"**/*.log"}}))
		assert.Equal(t, "./sub ./sub/drop.log ./sub/keep.txt", list(dagger.HostDirectoryOpts{Include: []string{"sub"}}))
		assert.Equal(t, "./keep.txt ./sub ./sub/keep.txt",
			list(dagger.HostDirectoryOpts{Exclude: []string{"*", "!**/*.txt"}}), "an allow-list")
		out, err := r.base().WithMountedDirectory("/d", r.Host().Directory(dir)).
			WithExec(bash("stat -c %a /d/keep.txt; readlink /d/link")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "640\nkeep.txt\n", out)
	})

	t.Run("HostFile", func(t *testing.T) {
		t.Parallel()
		dir := writeTree(t, map[string]string{"one": "content\n", "two": ""})
		out, err := r.Host().File(filepath.Join(dir, "one")).Contents(within(t))
		require.NoError(t, err)
		assert.Equal(t, "content\n", out)
	})

	t.Run("HostContentIsTheKey", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		key := nonce()
		dir := writeTree(t, map[string]string{"f": "1", "ignored": "1"})
		run := func(dir string) string {
			r, done := r.with(t) // a session may keep what it has read
			defer done()
			source := r.Host().Directory(dir, dagger.HostDirectoryOpts{Exclude: []string{"ignored"}})
			out, err := r.base().WithMountedDirectory("/d", source).
				WithExec(bash("cat /d/f; " + printRun + "; : " + key)).Stdout(ctx)
			require.NoError(t, err)
			return out
		}
		first := run(dir)
		now := time.Now()
		require.NoError(t, os.Chtimes(filepath.Join(dir, "f"), now, now))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ignored"), []byte("2"), 0o600))
		assert.Equal(t, first, run(dir), "only a time and an excluded file changed")
		elsewhere := writeTree(t, map[string]string{"f": "1"})
		assert.Equal(t, first, run(elsewhere), "the same content elsewhere")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("2"), 0o600))
		assert.True(t, strings.HasPrefix(run(dir), "2"), "changed content")
	})

	t.Run("ExportDirectory", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		d := r.base().WithExec(bash(`mkdir -p /x/sub; echo new > /x/file; ln -s file /x/link
			echo '#!' > /x/sub/run; chmod 755 /x/sub/run`)).Directory("/x")
		dest := filepath.Join(writeTree(t, map[string]string{"dest/file": "old", "dest/mine": "kept"}), "dest")
		_, err := d.Export(ctx, dest)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"file": "new\n", "link": "new\n", "mine": "kept", "sub/run": "#!\n"}, readTree(t, dest))
		info, err := os.Stat(filepath.Join(dest, "sub/run"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o755), info.Mode().Perm())
		target, err := os.Readlink(filepath.Join(dest, "link"))
		require.NoError(t, err)
		assert.Equal(t, "file", target)
	})

	t.Run("ExportFile", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		dir := t.TempDir()
		dest := filepath.Join(dir, "new", "file")
		file := r.dir(map[string]string{"f": "content"}).File("f")
		_, err := file.Export(ctx, dest)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"new/file": "content"}, readTree(t, dir))
		_, err = r.dir(map[string]string{"g": "changed"}).File("g").Export(ctx, dest)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"new/file": "changed"}, readTree(t, dir))
	})

	t.Run("ExportWipes", func(t *testing.T) {
		t.Parallel()
		dest := writeTree(t, map[string]string{"old": "old", "sub/old": "old"})
		_, err := r.dir(map[string]string{"sub/new": "new"}).Export(within(t), dest, dagger.DirectoryExportOpts{Wipe: true})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"sub/new": "new"}, readTree(t, dest))
	})

	t.Run("ExportFileIntoDirectory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		_, err := r.dir(map[string]string{"name": "content"}).File("name").
			Export(within(t), dir, dagger.FileExportOpts{AllowParentDirPath: true})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"name": "content"}, readTree(t, dir))
		_, err = r.dir(map[string]string{"name": "content"}).File("name").Export(within(t), dir)
		assert.Error(t, err, "onto a directory")
	})

	t.Run("FailedExportChangesNothing", func(t *testing.T) {
		t.Parallel()
		dir := writeTree(t, map[string]string{"file": "old"})
		failing := r.fresh().WithExec(bash("echo half > /file; exit 1"))
		_, err := failing.File("/file").Export(within(t), filepath.Join(dir, "file"))
		require.Error(t, err)
		_, err = failing.Directory("/etc").Export(within(t), filepath.Join(dir, "etc"))
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = r.dir(map[string]string{"f": "new"}).File("f").Export(ctx, filepath.Join(dir, "file"))
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, map[string]string{"file": "old"}, readTree(t, dir))
	})
}

// writeTree makes a directory with these files on the host.
func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// readTree returns the files under dir, symbolic links followed.
func readTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	require.NoError(t, err)
	return files
}
