package canonical

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// level is that of the compression. Another one, and another version of the library, makes other bytes.
const level = 6

// entries reads the files of a layer. done closes it.
func (s *source) entries(ctx context.Context, layer int) (entries *tar.Reader, done func(), err error) {
	blob, err := s.blobs[s.manifest.Layers[layer].Digest]()
	if err != nil {
		return nil, nil, err
	}
	buffered := bufio.NewReaderSize(&interruptible{ctx, blob}, 1<<16)
	magic, _ := buffered.Peek(4)
	var content io.Reader = buffered
	done = func() { _ = blob.Close() }
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		content, err = gzip.NewReader(buffered)
	case string(magic) == "\x28\xb5\x2f\xfd":
		var decoder *zstd.Decoder
		decoder, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1))
		if err == nil {
			content, done = decoder, func() { decoder.Close(); _ = blob.Close() }
		}
	}
	if err != nil {
		_ = blob.Close()
		return nil, nil, fmt.Errorf("layer %s: %w", s.manifest.Layers[layer].Digest, err)
	}
	return tar.NewReader(content), done, nil
}

// layer writes a compressed layer with the files that write puts into it.
func (w *writer) layer(write func(*tar.Writer) error) (d v1.Descriptor, diffID string, err error) {
	blob, content := &counter{hash: sha256.New()}, &counter{hash: sha256.New()}
	err = w.entry(func(to io.Writer) error {
		blob.to = bufio.NewWriterSize(to, 1<<20)
		compressor, err := gzip.NewWriterLevel(blob, level)
		if err != nil {
			return err
		}
		content.to = bufio.NewWriterSize(compressor, 1<<16)
		files := tar.NewWriter(content)
		if err := write(files); err != nil {
			return err
		}
		return errors.Join(files.Close(), content.to.Flush(), compressor.Close(), blob.to.Flush())
	}, func() string {
		d = v1.Descriptor{MediaType: types.OCILayer, Size: blob.size, Digest: blob.digest()}
		return blobPath(d.Digest)
	})
	return d, content.digest().String(), err
}

// counter is a writer that counts and hashes what it passes on.
type counter struct {
	to   *bufio.Writer
	hash hash.Hash
	size int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.hash.Write(p[:n])
	c.size += int64(n)
	return n, err
}

func (c *counter) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", c.hash.Sum(nil))}
}

// directories are the paths of those that the layers so far have.
type directories map[string]bool

// note adds a directory, or removes one that the layer removes.
func (d directories) note(h *tar.Header) {
	name := cleanName(h)
	if dir, base := path.Split(name); strings.HasPrefix(base, whiteout) {
		delete(d, dir+strings.TrimPrefix(base, whiteout))
	} else if h.Typeflag == tar.TypeDir {
		d[name] = true
	}
}

// whiteout begins the name of an entry that removes a file.
// https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
const whiteout = ".wh."

// rewriter makes entries canonical.
type rewriter struct {
	epoch time.Time
	base  directories // those of the base image
	dirs  directories
}

// rewrite writes the files of the last of some groups.
func (s *source) rewrite(ctx context.Context, to *tar.Writer, groups []made, r rewriter) error {
	group := groups[len(groups)-1]
	modules, err := s.modules(ctx, groups, r)
	if err != nil {
		return err
	}
	return s.each(ctx, group.layers, func(h *tar.Header, content io.Reader) error {
		if err := to.WriteHeader(r.header(h, group.Instruction)); err != nil {
			return err
		}
		r.dirs.note(h)
		if header := modules[cleanName(h)]; header != nil {
			if _, err := to.Write(header); err != nil {
				return err
			}
			if _, err := io.CopyN(io.Discard, content, pycHeader); err != nil {
				return err
			}
		}
		_, err := io.Copy(to, content)
		return err
	})
}

// each visits the files of one layer, or of several that become one. Each layer has its files in the order of a walk; of a path
// that several have, the last layer's counts.
func (s *source) each(ctx context.Context, layers []int, visit func(h *tar.Header, content io.Reader) error) error {
	type cursor struct {
		*tar.Reader
		header *tar.Header
	}
	var cursors []*cursor
	for _, layer := range layers {
		entries, done, err := s.entries(ctx, layer)
		if err != nil {
			return err
		}
		defer done()
		cursors = append(cursors, &cursor{Reader: entries})
	}
	advance := func(c *cursor) error {
		header, err := c.Next()
		if errors.Is(err, io.EOF) {
			header, err = nil, nil
		}
		c.header = header
		return err
	}
	for _, c := range cursors {
		if err := advance(c); err != nil {
			return err
		}
	}
	for {
		var next *cursor
		for _, c := range cursors {
			if c.header != nil && (next == nil || comparePaths(cleanName(c.header), cleanName(next.header)) <= 0) {
				next = c
			}
		}
		if next == nil {
			return nil
		}
		name := cleanName(next.header)
		if err := visit(next.header, next); err != nil {
			return err
		}
		for _, c := range cursors {
			if c == next || c.header != nil && cleanName(c.header) == name {
				if err := advance(c); err != nil {
					return err
				}
			}
		}
	}
}

// cleanName is the path of an entry without a slash or a dot in front.
func cleanName(h *tar.Header) string { return strings.TrimPrefix(path.Clean("/"+h.Name), "/") }

// header returns an entry without what depends on the machine and the time of the build.
func (r rewriter) header(h *tar.Header, of Instruction) *tar.Header {
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: cleanName(h), Linkname: h.Linkname, Size: h.Size, Mode: h.Mode & 0o7777,
		Uid: h.Uid, Gid: h.Gid, Devmajor: h.Devmajor, Devminor: h.Devminor, ModTime: h.ModTime.Truncate(time.Second),
	}
	if out.ModTime.After(r.epoch) {
		out.ModTime = r.epoch
	}
	if out.Typeflag == tar.TypeDir && !r.base[out.Name] {
		out.ModTime = time.Unix(ContextTime, 0) // one engine keeps the time of a directory that it copies, and another does not
	}
	// A directory that was there before, such as /tmp, stays as it is.
	if of.Context && (out.Typeflag != tar.TypeDir || !r.dirs[out.Name]) {
		// An engine may have a copy from before in its cache, which ignores times.
		out.ModTime = time.Unix(ContextTime, 0)
		if !of.Modes {
			out.Mode = mode(out)
		}
	}
	switch out.Typeflag {
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeLink:
		out.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	case tar.TypeGNUSparse:
		out.Typeflag = tar.TypeReg // the reader fills the holes
	}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			if out.PAXRecords == nil {
				out.PAXRecords = map[string]string{}
			}
			out.PAXRecords[key] = value
		}
	}
	return out
}

// mode returns the permissions that git gives a file or a directory with the usual umask.
func mode(h *tar.Header) int64 {
	switch {
	case h.Typeflag == tar.TypeSymlink:
		return h.Mode
	case h.Typeflag == tar.TypeDir, h.Mode&0o100 != 0:
		return 0o755
	default:
		return 0o644
	}
}
