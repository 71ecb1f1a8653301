package canonical_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/canonical"
)

// file is an entry of a layer.
type file struct {
	tar.Header
	content string
}

func regular(name, content string, mode int64, made time.Time) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: made, Size: int64(len(content))}, content}
}

func directory(name string, made time.Time) file {
	return file{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: made}, ""}
}

// layer is the uncompressed tar of a layer.
func layer(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		require.NoError(t, w.WriteHeader(&f.Header))
		_, err := io.WriteString(w, f.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func gzipped(level int) func([]byte) []byte {
	return func(content []byte) []byte {
		var out bytes.Buffer
		w, _ := gzip.NewWriterLevel(&out, level)
		_, _ = w.Write(content)
		_ = w.Close()
		return out.Bytes()
	}
}

func zstandard(content []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(content, nil)
}

func hexOf(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

// tarball writes an image as an engine would. Compress is for all layers but the first.
func tarball(t testing.TB, history []map[string]any, config map[string]any, layers [][]byte, compress func([]byte) []byte) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, content []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	blob := func(content []byte, mediaType string) map[string]any {
		add("blobs/sha256/"+hexOf(content), content)
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + hexOf(content), "size": len(content), "annotations": map[string]string{"made": "by an engine"}}
	}
	document := func(v any, mediaType string) map[string]any {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return blob(text, mediaType)
	}
	var described []map[string]any
	var diffIDs []string
	for i, content := range layers {
		diffIDs = append(diffIDs, "sha256:"+hexOf(content))
		if i == 0 {
			content = gzipped(9)(content)
		} else {
			content = compress(content)
		}
		described = append(described, blob(content, "application/vnd.oci.image.layer.v1.tar+gzip"))
	}
	whole := map[string]any{
		"created": time.Now().Format(time.RFC3339Nano), "architecture": "amd64", "os": "linux", "config": config,
		"history": history, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}
	manifest := document(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": document(whole, "application/vnd.oci.image.config.v1+json"), "layers": described,
	}, "application/vnd.oci.image.manifest.v1+json")
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	require.NoError(t, err)
	add("index.json", index)
	require.NoError(t, w.Close())
	name := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(name, out.Bytes(), 0o600))
	return name
}

var (
	released = time.Unix(1754697600, 0) // when the newest file of the base was made
	before   = released.Add(-24 * time.Hour)
	// instructions are those of
	//
	//	FROM base
	//	RUN install
	//	ENV A=1
	//	COPY a b /app/
	instructions = []canonical.Instruction{{Text: "RUN install", Parts: 1}, {Text: "ENV A=1"}, {Text: "COPY a b /app/", Parts: 2, Context: true}}
)

func base(t testing.TB) []byte {
	return layer(t, directory("etc", before), regular("etc/os", "trixie", 0o644, released))
}

// installed is what the RUN made at a time.
func installed(t testing.TB, at time.Time) []byte {
	owned := regular("usr/private", "key", 0o600, at)
	owned.Uid, owned.Gid, owned.Uname, owned.AccessTime, owned.Format = 1000, 1001, "root", at, tar.FormatPAX
	owned.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "cap"}
	return layer(t, directory("etc", at), file{Header: tar.Header{Typeflag: tar.TypeReg, Name: "etc/.wh.os", ModTime: time.Unix(0, 0)}},
		directory("usr", at), owned, regular("usr/"+strings.Repeat("long/", 40)+"program", "x", 0o4755, before.Add(time.Millisecond)),
		file{Header: tar.Header{Typeflag: tar.TypeLink, Name: "usr/same", Linkname: "usr/private", Mode: 0o600, ModTime: at}},
		file{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/to", Linkname: "/etc/os", Mode: 0o777, ModTime: at}})
}

// fromBuildKit is the image as BuildKit exports it, fromDagger as a Dagger engine does.
func fromBuildKit(t testing.TB, at time.Time) string {
	entry := func(by string, empty bool) map[string]any {
		return map[string]any{"created": at, "created_by": by, "comment": "buildkit.dockerfile.v0", "empty_layer": empty}
	}
	return tarball(t, []map[string]any{
		{"created_by": "debootstrap"}, {"created_by": "CMD bash", "empty_layer": true},
		entry("RUN /bin/sh -c install # buildkit", false), entry("ENV A=1", true), entry("COPY a b /app/ # buildkit", false),
	}, map[string]any{"Env": []string{"A=1"}, "ArgsEscaped": true, "Entrypoint": nil}, [][]byte{
		base(t), installed(t, at), layer(t, directory("app", at), regular("app/a", "a", 0o644, at), regular("app/b", "b", 0o644, at)),
	}, gzipped(6))
}

func fromDagger(t testing.TB, at time.Time, compress func([]byte) []byte) string {
	baseLayer := base(t)
	entry := func(by string) map[string]any {
		return map[string]any{"created": at, "created_by": by, "comment": "buildkit.exporter.image.v0"}
	}
	return tarball(t, []map[string]any{
		entry("import image layer sha256:" + hexOf(gzipped(9)(baseLayer))), entry("mount / from exec install"),
		entry("Directory.withDirectory"), entry("Directory.withDirectory"),
	}, map[string]any{"Env": []string{"A=1"}}, [][]byte{
		baseLayer, installed(t, at), layer(t, directory("app", at), regular("app/a", "a", 0o644, at)),
		layer(t, directory("app", at.Add(time.Second)), regular("app/b", "b", 0o644, at)),
	}, compress)
}

// write returns the canonical form of an image, which must be sound.
func write(t testing.TB, from string, o canonical.Options) (to, digest string) {
	t.Helper()
	to = filepath.Join(t.TempDir(), "canonical.tar")
	digest, err := canonical.Write(t.Context(), from, to, o)
	require.NoError(t, err)
	return to, digest
}

// What the index of a tarball says about an image is no part of it.
func TestAnnotations(t *testing.T) {
	_, digest := write(t, fromBuildKit(t, time.Now()), canonical.Options{Instructions: instructions})
	to, annotated := write(t, fromBuildKit(t, time.Now()), canonical.Options{Instructions: instructions, Annotations: map[string]string{"a": "b"}})
	assert.Equal(t, digest, annotated)
	a, err := image.Open(to)
	require.NoError(t, err)
	defer a.Close()
	assert.Equal(t, map[string]string{"a": "b"}, a.Annotations())
}

// contents returns the blobs of a tarball by their digests, each checked.
func contents(t testing.TB, name string) (digest string, blobs map[string][]byte) {
	t.Helper()
	a, err := image.Open(name)
	require.NoError(t, err)
	defer a.Close()
	blobs = map[string][]byte{}
	require.NoError(t, a.Each(func(d v1.Descriptor, open func() (io.ReadCloser, error)) error {
		r, err := open()
		require.NoError(t, err)
		defer r.Close()
		blobs[d.Digest.String()], err = io.ReadAll(r)
		return err
	}))
	return a.Digest().String(), blobs
}

func TestEnginesTimesAndCompressionsMakeOneDigest(t *testing.T) {
	now := time.Now()
	want, digest := write(t, fromBuildKit(t, now), canonical.Options{Instructions: instructions})
	for name, from := range map[string]string{
		"another time":        fromBuildKit(t, now.Add(-40*time.Hour).In(time.FixedZone("", 7200))),
		"another engine":      fromDagger(t, now, gzipped(1)),
		"another compression": fromDagger(t, now, zstandard),
		"no compression":      fromDagger(t, now, slices.Clone[[]byte]),
		"canonical already":   want,
	} {
		t.Run(name, func(t *testing.T) {
			to, got := write(t, from, canonical.Options{Instructions: instructions})
			assert.Equal(t, digest, got)
			first, err := os.ReadFile(want)
			require.NoError(t, err)
			second, err := os.ReadFile(to)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(first, second), "the files differ")
		})
	}
	_, other := write(t, fromBuildKit(t, now), canonical.Options{Instructions: instructions, Epoch: 1700000000})
	assert.NotEqual(t, digest, other)
}

func TestCanonicalImage(t *testing.T) {
	to, digest := write(t, fromDagger(t, time.Now(), gzipped(1)), canonical.Options{Instructions: instructions})
	is, blobs := contents(t, to)
	assert.Equal(t, digest, is)
	var manifest v1.Manifest
	require.NoError(t, json.Unmarshal(blobs[digest], &manifest))
	var config struct {
		Created time.Time
		History []struct {
			CreatedBy string `json:"created_by"`
			Empty     bool   `json:"empty_layer"`
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	require.NoError(t, json.Unmarshal(blobs[manifest.Config.Digest.String()], &config))
	assert.True(t, config.Created.Equal(released), config.Created)
	var made []string
	for _, h := range config.History {
		made = append(made, fmt.Sprint(h.CreatedBy, h.Empty))
	}
	assert.Equal(t, []string{"FROM layer sha256:" + hexOf(base(t)) + "false", "RUN installfalse", "ENV A=1true", "COPY a b /app/false"}, made)

	assert.Equal(t, hexOf(gzipped(9)(base(t))), manifest.Layers[0].Digest.Hex, "the base's layer changed")
	require.Len(t, manifest.Layers, 3)
	var entries []*tar.Header
	for i, d := range manifest.Layers {
		assert.Empty(t, d.Annotations)
		r, err := gzip.NewReader(bytes.NewReader(blobs[d.Digest.String()]))
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, "sha256:"+hexOf(content), config.RootFS.DiffIDs[i])
		for files := tar.NewReader(bytes.NewReader(content)); i > 0; {
			h, err := files.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			entries = append(entries, h)
		}
	}
	var listed []string
	for _, h := range entries {
		listed = append(listed, fmt.Sprintf("%c %s %o %d:%d %s %d %v", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, h.Linkname, h.ModTime.Unix()-released.Unix(), h.PAXRecords["SCHILY.xattr.security.capability"]))
		assert.Empty(t, h.Uname)
	}
	context := func(of string) string {
		return fmt.Sprintf("%s 0:0  %d ", of, canonical.ContextTime-released.Unix())
	}
	assert.Equal(t, []string{
		"5 etc/ 755 0:0  0 ", "0 etc/.wh.os 0 0:0  -1754697600 ", fmt.Sprintf("5 usr/ 755 0:0  %d ", canonical.ContextTime-released.Unix()), "0 usr/private 600 1000:1001  0 cap",
		"0 usr/" + strings.Repeat("long/", 40) + "program 4755 0:0  -86400 ", "1 usr/same 600 0:0 usr/private 0 ", "2 usr/to 777 0:0 /etc/os 0 ",
		context("5 app/ 755"), context("0 app/a 644"), context("0 app/b 644"),
	}, listed)
}

// Layers of one instruction are joined in the order of a walk, and the last one counts.
func TestLayersOfOneInstructionAreJoined(t *testing.T) {
	at := time.Now()
	joined := layer(t, directory("a", at), regular("a/x", "new", 0o644, at), regular("a-b", "", 0o644, at), directory("b", at))
	one := tarball(t, []map[string]any{{"created_by": "COPY x y /"}}, nil, [][]byte{joined}, nil)
	two := tarball(t, []map[string]any{{"created_by": "withDirectory"}, {"created_by": "withDirectory"}}, nil, [][]byte{
		layer(t, directory("a", at), regular("a/x", "old content", 0o600, at), directory("b", at)),
		layer(t, directory("a", at), regular("a/x", "new", 0o644, at), regular("a-b", "", 0o644, at)),
	}, gzipped(1))
	copied := canonical.Options{Instructions: []canonical.Instruction{{Text: "COPY x y /", Parts: 2}}}
	_, want := write(t, one, copied)
	_, got := write(t, two, copied)
	assert.Equal(t, want, got)
}

// A clone's times and umask are no part of the source: what is copied from it has one time, and the permissions that git
// knows. What other instructions make keeps its own, and so do directories that were there.
func TestFilesOfTheContext(t *testing.T) {
	at := time.Now()
	for _, tt := range []struct {
		name               string
		instruction        canonical.Instruction
		file, program, dir int64 // in the image
		old, fresh         int64 // the times of two files: one older than the base image, one newer
	}{
		{"copied", canonical.Instruction{Context: true}, 0o644, 0o755, 0o755, canonical.ContextTime, canonical.ContextTime},
		{"with permissions", canonical.Instruction{Context: true, Modes: true}, 0o600, 0o2700, 0o700, canonical.ContextTime, canonical.ContextTime},
		{"from another stage", canonical.Instruction{}, 0o600, 0o2700, 0o700, before.Unix(), released.Unix()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			temporary, own := directory("tmp", released), directory("app", at)
			temporary.Mode, own.Mode = 0o1777, 0o700
			from := tarball(t, []map[string]any{{"created_by": "debootstrap"}, {"created_by": "COPY . /"}}, nil, [][]byte{
				layer(t, temporary), layer(t, own, regular("app/file", "", 0o600, before), regular("app/program", "", 0o2700, at), temporary),
			}, gzipped(1))
			tt.instruction.Text, tt.instruction.Parts = "COPY . /", 1
			to, digest := write(t, from, canonical.Options{Instructions: []canonical.Instruction{tt.instruction}})
			_, blobs := contents(t, to)
			var manifest v1.Manifest
			require.NoError(t, json.Unmarshal(blobs[digest], &manifest))
			r, err := gzip.NewReader(bytes.NewReader(blobs[manifest.Layers[1].Digest.String()]))
			require.NoError(t, err)
			var got []string
			files := tar.NewReader(r)
			for h, err := files.Next(); err == nil; h, err = files.Next() {
				got = append(got, fmt.Sprintf("%s %o %d", h.Name, h.Mode, h.ModTime.Unix()))
			}
			assert.Equal(t, []string{
				fmt.Sprintf("app/ %o %d", tt.dir, int64(canonical.ContextTime)), fmt.Sprintf("app/file %o %d", tt.file, tt.old),
				fmt.Sprintf("app/program %o %d", tt.program, tt.fresh), fmt.Sprintf("tmp/ 1777 %d", released.Unix()),
			}, got)
		})
	}
}

// With the layers of an earlier run an image is the same, also when the layer above them changed, and when somebody damaged
// what was kept.
// A RUN that changes a file in a directory of a COPY has the directory in its layer: with the time of the context from BuildKit,
// and with that of the build from a Dagger engine.
func TestDirectoriesOfTheContextInLaterLayers(t *testing.T) {
	options := canonical.Options{Instructions: []canonical.Instruction{{Text: "COPY . /app", Parts: 1, Context: true}, {Text: "RUN edit", Parts: 1}}}
	history := []map[string]any{{"created_by": "debootstrap"}, {"created_by": "COPY . /app"}, {"created_by": "RUN edit"}}
	digests := map[string]bool{}
	for _, made := range []time.Time{time.Unix(canonical.ContextTime, 0), before, time.Now()} {
		_, digest := write(t, tarball(t, history, nil, [][]byte{
			base(t), layer(t, directory("app", made), regular("app/f", "1", 0o644, before)), layer(t, directory("app", made), regular("app/f", "12", 0o644, time.Now())),
		}, gzipped(1)), options)
		digests[digest] = true
	}
	assert.Len(t, digests, 1)
}

func TestLayersFromTheCache(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "layers")
	kept := func() map[string]os.FileInfo {
		files := map[string]os.FileInfo{}
		entries, err := os.ReadDir(cache)
		require.NoError(t, err)
		for _, e := range entries {
			if files[e.Name()], err = e.Info(); strings.HasSuffix(e.Name(), ".json") {
				delete(files, e.Name())
			}
			require.NoError(t, err)
		}
		return files
	}
	o := canonical.Options{Instructions: instructions}
	first, second := fromBuildKit(t, time.Now()), fromDagger(t, time.Now(), zstandard)
	_, want := write(t, first, o)
	o.Cache = cache
	for _, from := range []string{first, first, second} {
		to, digest := write(t, from, o)
		assert.Equal(t, want, digest)
		contents(t, to) // checks each blob
	}
	layers := kept()
	require.NotEmpty(t, layers)
	write(t, first, o)
	again := kept()
	require.Len(t, again, len(layers))
	for name := range layers {
		assert.True(t, os.SameFile(layers[name], again[name]), "%s was made again", name)
	}

	for name := range layers {
		require.NoError(t, os.WriteFile(filepath.Join(cache, name), []byte("damaged"), 0o600))
	}
	for _, from := range []string{first, second} {
		to, digest := write(t, from, o)
		assert.Equal(t, want, digest)
		contents(t, to)
	}
	for name := range layers {
		assert.NotEqual(t, int64(len("damaged")), kept()[name].Size(), "%s stays damaged", name)
	}
}

// What was not used for a week is removed.
func TestOldLayersLeaveTheCache(t *testing.T) {
	cache := t.TempDir()
	old := filepath.Join(cache, "old.gz")
	require.NoError(t, os.WriteFile(old, nil, 0o600))
	then := time.Now().Add(-8 * 24 * time.Hour)
	require.NoError(t, os.Chtimes(old, then, then))
	write(t, fromBuildKit(t, then), canonical.Options{Instructions: instructions, Cache: cache})
	assert.NoFileExists(t, old)
	made, err := filepath.Glob(filepath.Join(cache, "*.gz"))
	require.NoError(t, err)
	assert.NotEmpty(t, made)
}

// The base of an image may itself be a canonical one, or one that a Dagger engine made. Its layers stay as they are.
func TestBaseThatWasBuilt(t *testing.T) {
	entry := func(by string, empty bool) map[string]any {
		return map[string]any{"created_by": by, "comment": "buildkit.dockerfile.v0", "empty_layer": empty}
	}
	for name, below := range map[string][]map[string]any{
		"canonical": {{"created_by": "FROM layer sha256:" + hexOf(base(t))}, {"created_by": "ENV B=1", "empty_layer": true}, {"created_by": "RUN install"}},
		"of a Dagger engine": {
			{"created_by": "import image layer sha256:" + hexOf(base(t)), "comment": "buildkit.exporter.image.v0"},
			{"created_by": "Directory.withDirectory", "comment": "buildkit.exporter.image.v0"},
		},
	} {
		for what, instruction := range map[string]canonical.Instruction{
			"one source":  {Text: "COPY a /app/", Parts: 1, Context: true},
			"two sources": {Text: "COPY a b /app/", Parts: 2, Context: true},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				made := func(at time.Time) string {
					return tarball(t, append(slices.Clone(below), entry("COPY a b /app/ # buildkit", false), entry("ENV A=1", true)), nil, [][]byte{
						base(t), installed(t, released), layer(t, directory("app", at), regular("app/a", "a", 0o644, at)),
					}, gzipped(6))
				}
				o := canonical.Options{Instructions: []canonical.Instruction{instruction, {Text: "ENV A=1"}}}
				to, digest := write(t, made(time.Now()), o)
				_, other := write(t, made(time.Now().Add(time.Hour)), o)
				assert.Equal(t, digest, other)
				_, again := write(t, to, o)
				assert.Equal(t, digest, again, "the canonical form of a canonical image is the same image")
				_, blobs := contents(t, to)
				var manifest v1.Manifest
				require.NoError(t, json.Unmarshal(blobs[digest], &manifest))
				require.Len(t, manifest.Layers, 3)
				assert.Equal(t, hexOf(gzipped(6)(installed(t, released))), manifest.Layers[1].Digest.Hex, "the base's own layer changed")
			})
		}
	}
}

// An argument that makes an engine build again leaves no trace, so that the same files are the same image.
func TestUnrecordedInstructions(t *testing.T) {
	entry := func(by string, empty bool) map[string]any {
		return map[string]any{"created_by": by, "comment": "buildkit.dockerfile.v0", "empty_layer": empty}
	}
	once := tarball(t, []map[string]any{{"created_by": "debootstrap"}, entry("RUN /bin/sh -c install", false)}, nil, [][]byte{base(t), installed(t, released)}, gzipped(6))
	again := tarball(t, []map[string]any{{"created_by": "debootstrap"}, entry("ARG GENERATION=2", true), entry("RUN |1 GENERATION=2 /bin/sh -c install", false)}, nil,
		[][]byte{base(t), installed(t, time.Now())}, gzipped(6))
	_, want := write(t, once, canonical.Options{Instructions: []canonical.Instruction{{Text: "RUN install", Parts: 1}}})
	_, got := write(t, again, canonical.Options{Instructions: []canonical.Instruction{{Text: "ARG GENERATION=2", Unrecorded: true}, {Text: "RUN install", Parts: 1}}})
	assert.Equal(t, want, got)
}

func TestUnknownLayersAreLeftAlone(t *testing.T) {
	for name, o := range map[string][]canonical.Instruction{
		"one layer too few":   {{Text: "RUN install", Parts: 1}},
		"another instruction": {{Text: "RUN install", Parts: 1}, {Text: "LABEL a=b"}, {Text: "COPY a b /app/", Parts: 2}},
		"too many":            {{Text: "A", Parts: 1}, {Text: "B", Parts: 1}, {Text: "C", Parts: 1}, {Text: "D", Parts: 1}, {Text: "E", Parts: 1}, {Text: "F", Parts: 1}},
	} {
		to := filepath.Join(t.TempDir(), "out.tar")
		_, err := canonical.Write(t.Context(), fromBuildKit(t, time.Now()), to, canonical.Options{Instructions: o})
		require.ErrorIs(t, err, canonical.ErrUnknownLayers, name)
		assert.NoFileExists(t, to)
	}
}

func TestNothingHalfIsWritten(t *testing.T) {
	from := fromBuildKit(t, time.Now())
	to := filepath.Join(t.TempDir(), "out.tar")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := canonical.Write(ctx, from, to, canonical.Options{Instructions: instructions})
	require.ErrorIs(t, err, context.Canceled)

	whole, err := os.ReadFile(from)
	require.NoError(t, err)
	i := bytes.Index(whole, gzipped(6)(installed(t, time.Now()))[:10])
	require.Positive(t, i)
	whole[i+40] ^= 0xff
	require.NoError(t, os.WriteFile(from, whole, 0o600))
	_, err = canonical.Write(t.Context(), from, to, canonical.Options{Instructions: instructions})
	require.Error(t, err)
	entries, err := os.ReadDir(filepath.Dir(to))
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// BenchmarkWrite reports how fast the files of the new layers are rewritten.
func BenchmarkWrite(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 2000)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", random.Uint32()>>(random.IntN(4)*8))
	}
	var files []file
	const size = 64 << 20
	for made := 0; made < size; {
		var text strings.Builder
		for text.Len() < 64<<10 {
			text.WriteString(words[random.IntN(len(words))])
		}
		made += text.Len()
		files = append(files, regular(fmt.Sprintf("f%05d", len(files)), text.String(), 0o644, time.Now()))
	}
	from := tarball(b, []map[string]any{{"created_by": "RUN make"}}, nil, [][]byte{layer(b, files...)}, nil)
	to := filepath.Join(b.TempDir(), "out.tar")
	for name, cache := range map[string]string{"first": "", "again": b.TempDir()} {
		b.Run(name, func(b *testing.B) {
			o := canonical.Options{Instructions: []canonical.Instruction{{Text: "RUN make", Parts: 1}}, Cache: cache}
			if cache != "" {
				_, err := canonical.Write(b.Context(), from, to, o)
				require.NoError(b, err)
			}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				_, err := canonical.Write(b.Context(), from, to, o)
				require.NoError(b, err)
			}
		})
	}
}
