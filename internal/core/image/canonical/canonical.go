// Package canonical gives an image that was built from a Dockerfile the form that does not depend on the engine, the
// machine and the time of the build: the same source then has the same digest.
//
// The layers of the base image stay byte for byte what they are. In the others no file is newer than the newest of the base
// image, and names of users and access times are left out. What a COPY takes from the build context has one time, as directories
// have that the base image lacks; and it has the permissions that git knows, whatever the umask of the clone was. The layers are
// compressed in one way. The history is that of the Dockerfile. What a build writes into a file is not changed, but for the time
// of its source that a compiled Python module says: a log with the time in it is another file each time.
package canonical

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/renameio/v2"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Instruction is an instruction of a Dockerfile that leaves an entry in the history.
type Instruction struct {
	Text string // as in the Dockerfile, in one line
	// Parts is how many layers an engine may make of it that makes one for each source of a COPY; 0 for an instruction that
	// changes no file.
	Parts int
	// Context says that all its files come from the build context; Modes, that the instruction sets their permissions.
	Context, Modes bool
	// Unrecorded is one that the canonical form does not show, such as an argument that only makes an engine build again. It
	// makes no layer.
	Unrecorded bool
}

// made is what one instruction made: the layers, by their numbers.
type made struct {
	Instruction
	layers []int
}

// Options say what is known about the image.
type Options struct {
	// Instructions are those that made the image from its base, in their order.
	Instructions []Instruction
	// Epoch is the latest time that a file of the new layers may have, in seconds since 1970. 0 means the time of the newest
	// file of the base, and 1980-01-01 where there is no base.
	Epoch int64
	// Cache is a directory that keeps layers for the next time; "" keeps none. It is made when it is not there.
	Cache string
	// Annotations are what the index of the tarball says about the image.
	Annotations map[string]string
}

// ContextTime is the time of all files of the build context, in seconds since 1970: 1980-01-01, the earliest that a ZIP
// archive can hold. Their own times are those of a clone. It is also the epoch of an image without a base.
const ContextTime = 315532800

// ErrUnknownLayers is returned for an image whose layers are not those that the instructions make. Its form is not changed.
var ErrUnknownLayers = errors.New("the layers of the image do not fit the instructions of its Dockerfile")

// Write reads an OCI tarball with one image for one platform, and writes it in its canonical form, as a whole or not at all.
// It returns the digest. The canonical form of a canonical image is the same image.
func Write(ctx context.Context, from, to string, o Options) (digest string, err error) {
	archive, err := image.Open(from)
	if err != nil {
		return "", err
	}
	defer func() { _ = archive.Close() }()
	source, err := read(archive)
	if err != nil {
		return "", fmt.Errorf("image tarball %s: %w", from, err)
	}
	base, groups, err := source.split(o.Instructions)
	if err != nil {
		return "", fmt.Errorf("image tarball %s: %w", from, err)
	}
	out, err := renameio.NewPendingFile(to, renameio.WithPermissions(0o644))
	if err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	defer func() { _ = out.Cleanup() }()
	w := &writer{ctx: ctx, file: out.File}
	if digest, err = source.write(ctx, w, base, groups, o); err != nil {
		return "", fmt.Errorf("writing the image in its canonical form: %w", err)
	}
	if err := out.CloseAtomicallyReplace(); err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	return digest, nil
}

// opener opens a blob.
type opener func() (io.ReadCloser, error)

// source is the image that is read.
type source struct {
	manifest v1.Manifest
	config   map[string]any
	diffIDs  []string
	history  []history
	blobs    map[v1.Hash]opener
}

type history struct {
	Created   string `json:"created,omitempty"`
	CreatedBy string `json:"created_by,omitempty"`
	Comment   string `json:"comment,omitempty"`
	Empty     bool   `json:"empty_layer,omitempty"`
}

// maxDocument bounds a manifest and a configuration, in bytes.
const maxDocument = 4 << 20

func read(a *image.Archive) (*source, error) {
	s := &source{blobs: map[v1.Hash]opener{}}
	if err := a.Each(func(d v1.Descriptor, open func() (io.ReadCloser, error)) error {
		s.blobs[d.Digest] = open
		return nil
	}); err != nil {
		return nil, err
	}
	if !a.Root().MediaType.IsImage() {
		return nil, errors.New("it has images for several platforms: build it for one, with build.platform in aksflow.yaml")
	}
	if err := s.document(a.Digest(), &s.manifest); err != nil {
		return nil, err
	}
	var config struct {
		History []history `json:"history"`
		RootFS  struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := s.document(s.manifest.Config.Digest, &config); err != nil {
		return nil, err
	}
	if err := s.document(s.manifest.Config.Digest, &s.config); err != nil {
		return nil, err
	}
	s.history, s.diffIDs = config.History, config.RootFS.DiffIDs
	if len(s.diffIDs) != len(s.manifest.Layers) {
		return nil, fmt.Errorf("its manifest has %d layers and its configuration %d", len(s.manifest.Layers), len(s.diffIDs))
	}
	return s, nil
}

// document reads a JSON blob.
func (s *source) document(digest v1.Hash, into any) error {
	blob, err := s.blobs[digest]()
	if err != nil {
		return err
	}
	defer blob.Close()
	dec := json.NewDecoder(io.LimitReader(blob, maxDocument))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("blob %s: %w", digest, err)
	}
	return nil
}

// What the entries of a history begin with that are about a layer of the base image: in an image that a Dagger engine
// built, and in a canonical one.
const (
	importedLayer = "import image layer "
	baseLayer     = "FROM layer "
)

// split returns how many layers are those of the base image, and which of the others each instruction made.
//
// BuildKit has an entry in the history for each instruction, after those of the base image, whatever made that one. A Dagger
// engine has one for each layer, and says which were imported; of a COPY with several sources it makes several layers.
func (s *source) split(instructions []Instruction) (base int, groups []made, err error) {
	one, parts := 0, 0
	for _, i := range instructions {
		if i.Parts > 0 {
			one++
		}
		parts += i.Parts
	}
	units := s.units()
	total := len(units)
	own := -1
	switch before := len(s.history) - len(instructions); {
	case before >= 0 && s.endsWith(instructions) && (all(s.history[before:], isBuildKit) || !slices.ContainsFunc(s.history, isBase)):
		own = 0
		for _, h := range s.history[before:] {
			if !h.Empty {
				own++
			}
		}
	case slices.ContainsFunc(s.history, isBase):
		own = total
		for _, h := range s.history {
			if isBase(h) {
				own--
			}
		}
	case before < 0 || len(s.history) == len(s.manifest.Layers):
		own = total // a Dagger engine's, without a base image
	}
	if own != one && own != parts {
		return 0, nil, ErrUnknownLayers
	}
	next := total - own
	for _, i := range instructions {
		group := made{Instruction: i}
		for range i.Parts {
			if len(group.layers) == 0 || own == parts {
				group.layers = append(group.layers, units[next]...)
				next++
			}
		}
		if len(group.layers) > 0 {
			groups = append(groups, group)
		}
	}
	return total - own, groups, nil
}

// units returns the numbers of the layers, those together that one part of an instruction made. A Dagger engine makes two of a
// WORKDIR where there is a user: the second one gives the directory to them.
func (s *source) units() (units [][]int) {
	for i := range s.manifest.Layers {
		if len(s.history) == len(s.manifest.Layers) && i > 0 &&
			strings.HasPrefix(s.history[i].CreatedBy, "chown ") && strings.HasPrefix(s.history[i-1].CreatedBy, "withNewDirectory ") {
			units[len(units)-1] = append(units[len(units)-1], i)
			continue
		}
		units = append(units, []int{i})
	}
	return units
}

func isBase(h history) bool {
	return strings.HasPrefix(h.CreatedBy, importedLayer) || strings.HasPrefix(h.CreatedBy, baseLayer)
}

// isBuildKit reports whether an entry is that of BuildKit's Dockerfile frontend.
func isBuildKit(h history) bool { return h.Comment == "buildkit.dockerfile.v0" }

func all(entries []history, is func(history) bool) bool {
	return !slices.ContainsFunc(entries, func(h history) bool { return !is(h) })
}

// endsWith reports whether the history ends with an entry for each of the instructions.
func (s *source) endsWith(instructions []Instruction) bool {
	entries := s.history[len(s.history)-len(instructions):]
	for i, instruction := range instructions {
		word := func(text string) string { first, _, _ := strings.Cut(text, " "); return strings.ToUpper(first) }
		if word(entries[i].CreatedBy) != word(instruction.Text) || instruction.Parts == 0 && !entries[i].Empty {
			return false
		}
	}
	return true
}

// write writes the canonical image and returns its digest.
func (s *source) write(ctx context.Context, w *writer, base int, groups []made, o Options) (string, error) {
	layers := cache{o.Cache}
	below, epoch, dirs, err := s.scanOnce(ctx, layers, base)
	if err != nil {
		return "", err
	}
	if o.Epoch != 0 {
		epoch = o.Epoch
	}
	r := rewriter{epoch: time.Unix(epoch, 0), base: maps.Clone(dirs), dirs: dirs}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	var diffIDs []string
	for i, layer := range s.manifest.Layers[:base] {
		if err := w.copy(layer, s.blobs[layer.Digest]); err != nil {
			return "", err
		}
		diffIDs = append(diffIDs, s.diffIDs[i])
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: ociType(layer.MediaType), Digest: layer.Digest, Size: layer.Size})
	}
	for i, group := range groups {
		below = s.key(group.layers, below, epoch, group.Instruction)
		d, diffID, err := s.layerOnce(ctx, w, layers, below, groups[:i+1], &r)
		if err != nil {
			return "", err
		}
		diffIDs = append(diffIDs, diffID)
		manifest.Layers = append(manifest.Layers, d)
	}
	layers.prune()
	config, err := w.json(s.canonicalConfig(base, diffIDs, epoch, o.Instructions), types.OCIConfigJSON)
	if err != nil {
		return "", err
	}
	manifest.Config = config
	root, err := w.json(manifest, types.OCIManifestSchema1)
	if err != nil {
		return "", err
	}
	root.Annotations = o.Annotations
	return root.Digest.String(), w.finish(root)
}

// scanOnce is scan, unless the cache knows the base. It also returns the key of the base.
func (s *source) scanOnce(ctx context.Context, c cache, base int) (key string, epoch int64, dirs directories, err error) {
	numbers := make([]int, base)
	for i := range numbers {
		numbers[i] = i
	}
	key = s.key(numbers, "", 0, Instruction{})
	if k, ok := c.find(key); ok {
		return key, k.Epoch, directoriesOf(k.Directories), nil
	}
	if epoch, dirs, err = s.scan(ctx, base); err != nil {
		return "", 0, nil, err
	}
	if err := c.keep(key, kept{Epoch: epoch, Directories: dirs.list()}, nil); err != nil {
		report.Warn(ctx, "the cache of image layers: %v", err)
	}
	return key, epoch, dirs, nil
}

// layerOnce writes the canonical layer of the last of some groups: the one in the cache if its bytes are still what they were,
// else a new one.
func (s *source) layerOnce(ctx context.Context, w *writer, c cache, key string, groups []made, r *rewriter) (v1.Descriptor, string, error) {
	if k, ok := c.find(key); ok && w.cached(k.Layer, func() (io.ReadCloser, error) { return c.open(key) }) {
		r.dirs = directoriesOf(k.Directories)
		return k.Layer, k.DiffID, nil
	}
	start := w.offset
	d, diffID, err := w.layer(func(to *tar.Writer) error { return s.rewrite(ctx, to, groups, *r) })
	if err != nil {
		return d, "", err
	}
	if w.offset > start { // else the layer has been written before
		content := io.NewSectionReader(w.file, start+block, d.Size)
		if err := c.keep(key, kept{Layer: d, DiffID: diffID, Directories: r.dirs.list()}, content); err != nil {
			report.Warn(ctx, "the cache of image layers: %v", err)
		}
	}
	return d, diffID, nil
}

// scan returns the time of the newest file of the base image, and its directories.
func (s *source) scan(ctx context.Context, base int) (epoch int64, dirs directories, err error) {
	epoch, dirs = ContextTime, directories{}
	for i := range base {
		entries, done, err := s.entries(ctx, i)
		if err != nil {
			return 0, nil, err
		}
		for err == nil {
			var h *tar.Header
			if h, err = entries.Next(); err == nil {
				epoch = max(epoch, h.ModTime.Unix())
				dirs.note(h)
			}
		}
		done()
		if !errors.Is(err, io.EOF) {
			return 0, nil, fmt.Errorf("layer %s: %w", s.manifest.Layers[i].Digest, err)
		}
	}
	return epoch, dirs, nil
}

// canonicalConfig returns the configuration with the history of the Dockerfile, and without what only says which engine
// wrote it.
func (s *source) canonicalConfig(base int, diffIDs []string, epoch int64, instructions []Instruction) map[string]any {
	created := time.Unix(epoch, 0).UTC().Format(time.RFC3339)
	entries := []history{}
	for i := range base {
		entries = append(entries, history{Created: created, CreatedBy: baseLayer + s.diffIDs[i]})
	}
	for _, i := range instructions {
		if i.Unrecorded {
			continue
		}
		entries = append(entries, history{Created: created, CreatedBy: i.Text, Empty: i.Parts == 0})
	}
	out := map[string]any{
		"created": created, "history": entries, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}
	for _, key := range []string{"architecture", "variant", "os", "os.version", "os.features", "author"} {
		if value := s.config[key]; !isEmpty(value) {
			out[key] = value
		}
	}
	for _, i := range instructions {
		if author, ok := strings.CutPrefix(i.Text, "MAINTAINER "); ok {
			out["author"] = author // a Dagger engine leaves it out
		}
	}
	run := map[string]any{}
	if given, ok := s.config["config"].(map[string]any); ok {
		for key, value := range given {
			if key != "ArgsEscaped" && !isEmpty(value) && (key != "WorkingDir" || value != "/") { // "/" is where a container begins without one
				run[key] = value
			}
		}
	}
	out["config"] = run
	return out
}

// isEmpty reports whether a JSON value is the zero value of its kind, which engines write or leave out.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// ociType is the OCI name of a layer's media type: the bytes are the same.
func ociType(t types.MediaType) types.MediaType {
	if t == types.DockerLayer {
		return types.OCILayer
	}
	if t == types.DockerUncompressedLayer {
		return types.OCIUncompressedLayer
	}
	return t
}

// writer writes the tar of an OCI image layout. A blob's header needs the size and the digest that are known after it, so
// the header is written last, into the room that was left for it.
type writer struct {
	ctx     context.Context
	file    *os.File
	offset  int64
	written map[string]bool
}

const block = 512 // of a tar file, in bytes

// entry writes a file of the layout: content writes what is in it, and name returns its path afterwards.
func (w *writer) entry(content func(io.Writer) error, name func() string) error {
	start := w.offset
	if _, err := w.file.Seek(start+block, io.SeekStart); err != nil {
		return err
	}
	if err := content(w.file); err != nil {
		return err
	}
	end, err := w.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	path := name()
	if w.written[path] {
		return w.file.Truncate(start) // two layers with the same content
	}
	if w.written == nil {
		w.written = map[string]bool{}
	}
	w.written[path] = true
	size := end - start - block
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(header.Bytes(), start); err != nil {
		return err
	}
	w.offset = start + block + (size+block-1)/block*block
	return w.file.Truncate(w.offset)
}

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

// copy writes a blob as it is.
func (w *writer) copy(d v1.Descriptor, open opener) error {
	return w.entry(func(to io.Writer) error {
		blob, err := open()
		if err != nil {
			return err
		}
		defer blob.Close()
		_, err = io.Copy(to, &interruptible{w.ctx, blob})
		return err
	}, func() string { return blobPath(d.Digest) })
}

// cached writes a layer of the cache, and reports whether its bytes are those that it is named by. What was written of
// others is overwritten by the next entry.
func (w *writer) cached(d v1.Descriptor, open opener) bool {
	start, content := w.offset, sha256.New()
	err := w.entry(func(to io.Writer) error {
		blob, err := open()
		if err != nil {
			return err
		}
		defer blob.Close()
		n, err := io.Copy(io.MultiWriter(to, content), &interruptible{w.ctx, blob})
		if err == nil && (n != d.Size || fmt.Sprintf("%x", content.Sum(nil)) != d.Digest.Hex) {
			err = errors.New("it changed")
		}
		return err
	}, func() string { return blobPath(d.Digest) })
	if err != nil {
		w.offset = start
	}
	return err == nil
}

// json writes a document as a blob.
func (w *writer) json(document any, mediaType types.MediaType) (v1.Descriptor, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return v1.Descriptor{}, err
	}
	raw := bytes.TrimSpace(text.Bytes())
	d := v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(raw))}}
	return d, w.entry(func(to io.Writer) error { _, err := to.Write(raw); return err }, func() string { return blobPath(d.Digest) })
}

// finish writes what makes an image layout of the blobs.
func (w *writer) finish(root v1.Descriptor) error {
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{root}})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{"index.json", index}, {"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}} {
		if err := w.entry(func(to io.Writer) error { _, err := to.Write(f.text); return err }, func() string { return f.name }); err != nil {
			return err
		}
	}
	return w.file.Truncate(w.offset + 2*block) // the end of a tar file
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r *interruptible) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// comparePaths orders paths as a walk through a tree visits them.
func comparePaths(a, b string) int {
	return slices.CompareFunc(strings.Split(strings.TrimSuffix(a, "/"), "/"), strings.Split(strings.TrimSuffix(b, "/"), "/"), cmp.Compare[string])
}
