package canonical_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/image/canonical"
)

// pyc is a module that Python compiled from a source.
func pyc(compiler uint16, flags uint32, source string, made time.Time) string {
	head := binary.LittleEndian.AppendUint16(nil, compiler)
	head = append(head, "\r\n"...)
	head = binary.LittleEndian.AppendUint32(head, flags)
	head = binary.LittleEndian.AppendUint32(head, uint32(made.Unix()))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(source)))
	return string(head) + "the code"
}

// A module whose source gets another time says what Python's own _imp.source_hash gives, and every other one stays.
func TestPythonModules(t *testing.T) {
	const text, python38, python310, python311, python313, pypy = "import os\n", 3413, 3439, 3495, 3571, 336
	late := released.Add(time.Hour)
	stays := func(compiler uint16, flags uint32, made time.Time) (was, want string) {
		return pyc(compiler, flags, text, made), pyc(compiler, flags, text, made)
	}
	hashed := func(compiler uint16, hash string) (was, want string) {
		sum, err := hex.DecodeString(hash)
		require.NoError(t, err)
		was = pyc(compiler, 0, text, late)
		return was, was[:4] + "\x03\x00\x00\x00" + string(sum) + "the code"
	}
	pair := func(was, want string) [2]string { return [2]string{was, want} }
	for name, test := range map[string]struct {
		module  string
		source  time.Time
		content [2]string
		context bool
	}{
		"Python 3.8":            {"lib/__pycache__/m.cpython-38.pyc", late, pair(hashed(python38, "534adc4ba56153b2")), false},
		"Python 3.10":           {"lib/__pycache__/m.cpython-310.pyc", late, pair(hashed(python310, "f583e543bc07b128")), false},
		"Python 3.11":           {"lib/__pycache__/m.cpython-311.pyc", late, pair(hashed(python311, "bf452971496c7b11")), false},
		"Python 3.13":           {"lib/__pycache__/m.cpython-313.pyc", late, pair(hashed(python313, "e64d0392d26e5285")), false},
		"optimised":             {"lib/__pycache__/m.cpython-313.opt-1.pyc", late, pair(hashed(python313, "e64d0392d26e5285")), false},
		"the source keeps":      {"lib/__pycache__/m.cpython-313.pyc", before, pair(stays(python313, 0, before)), false},
		"compiled of another":   {"lib/__pycache__/m.cpython-313.pyc", late, pair(stays(python313, 0, late.Add(time.Second))), false},
		"a hash already":        {"lib/__pycache__/m.cpython-313.pyc", late, pair(stays(python313, 1, late)), false},
		"another Python":        {"lib/__pycache__/m.pypy39.pyc", late, pair(stays(pypy, 0, late)), false},
		"Python 2":              {"lib/__pycache__/m.cpython-27.pyc", late, pair(stays(62211, 0, late)), false},
		"no source":             {"lib/__pycache__/other.cpython-313.pyc", late, pair(stays(python313, 0, late)), false},
		"no module":             {"lib/__pycache__/m.cpython-313.pyc", late, [2]string{"short", "short"}, false},
		"of the build context":  {"lib/__pycache__/m.cpython-313.pyc", late, pair(stays(python313, 0, late)), true},
		"of another directory":  {"lib/m.cpython-313.pyc", late, pair(stays(python313, 0, late)), false},
		"of another size":       {"lib/__pycache__/m.cpython-313.pyc", late, [2]string{pyc(python313, 0, text+"#", late), pyc(python313, 0, text+"#", late)}, false},
		"of an unknown release": {"lib/__pycache__/m.cpython-311.pyc", late, pair(stays(3450, 0, late)), false},
	} {
		t.Run(name, func(t *testing.T) {
			from := tarball(t, []map[string]any{{"created_by": "debootstrap"}, {"created_by": "RUN install"}}, nil, [][]byte{
				base(t), layer(t, directory("lib", late), regular(test.module, test.content[0], 0o644, late), regular("lib/m.py", text, 0o644, test.source)),
			}, gzipped(1))
			options := canonical.Options{Instructions: []canonical.Instruction{{Text: "RUN install", Parts: 1, Context: test.context}}}
			to, digest := write(t, from, options)
			assert.Equal(t, test.content[1], fileIn(t, to, digest, test.module))
			_, again := write(t, to, options)
			assert.Equal(t, digest, again)
		})
	}
}

// A source is in another layer: of an instruction before, or of the base image, which keeps its times.
func TestPythonModuleOfAnotherLayer(t *testing.T) {
	const text, compiled = "import os\n", "lib/__pycache__/m.cpython-313.pyc"
	late := released.Add(time.Hour)
	run := func(text string, context bool) canonical.Instruction {
		return canonical.Instruction{Text: text, Parts: 1, Context: context}
	}
	history := []map[string]any{{"created_by": "debootstrap"}, {"created_by": "RUN one"}, {"created_by": "RUN two"}}
	source := func(made time.Time) file { return regular("lib/m.py", text, 0o644, made) }
	for name, test := range map[string]struct {
		base, first file
		made        time.Time
		context     bool
		want        uint32
	}{
		"of a RUN before":       {regular("f", "", 0o644, before), source(late), late, false, 3},
		"of a COPY before":      {regular("f", "", 0o644, before), source(time.Unix(canonical.ContextTime, 0)), time.Unix(canonical.ContextTime, 0), true, 0},
		"of the base image":     {source(released), regular("f", "", 0o644, late), released, false, 0},
		"replaced since it was": {regular("f", "", 0o644, before), source(late.Add(time.Minute)), late, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			from := tarball(t, history, nil, [][]byte{
				layer(t, regular("etc/os", "trixie", 0o644, released), test.base), layer(t, test.first), layer(t, regular(compiled, pyc(3571, 0, text, test.made), 0o644, late)),
			}, gzipped(1))
			to, digest := write(t, from, canonical.Options{Instructions: []canonical.Instruction{run("RUN one", test.context), run("RUN two", false)}})
			assert.Equal(t, test.want, binary.LittleEndian.Uint32([]byte(fileIn(t, to, digest, compiled))[4:8]))
		})
	}
}

// The source of Debian's sitecustomize is a symbolic link.
func TestPythonModuleOfALink(t *testing.T) {
	const text, name = "import os\n", "usr/lib/python3.13/__pycache__/sitecustomize.cpython-313.pyc"
	late := released.Add(time.Hour)
	from := tarball(t, []map[string]any{{"created_by": "debootstrap"}, {"created_by": "RUN install"}}, nil, [][]byte{
		base(t), layer(t, regular("etc/python3.13/sitecustomize.py", text, 0o644, late), regular(name, pyc(3571, 0, text, late), 0o644, late),
			file{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/lib/python3.13/sitecustomize.py", Linkname: "/etc/python3.13/sitecustomize.py", Mode: 0o777, ModTime: late}}),
	}, gzipped(1))
	to, digest := write(t, from, canonical.Options{Instructions: []canonical.Instruction{{Text: "RUN install", Parts: 1}}})
	assert.Equal(t, "\x03\x00\x00\x00", fileIn(t, to, digest, name)[4:8])
}

// fileIn is the content of a file in the last layer of an image.
func fileIn(t *testing.T, tarball, digest, name string) string {
	t.Helper()
	_, blobs := contents(t, tarball)
	var manifest v1.Manifest
	require.NoError(t, json.Unmarshal(blobs[digest], &manifest))
	r, err := gzip.NewReader(bytes.NewReader(blobs[manifest.Layers[len(manifest.Layers)-1].Digest.String()]))
	require.NoError(t, err)
	files := tar.NewReader(r)
	for h, err := files.Next(); err == nil; h, err = files.Next() {
		if h.Name == name {
			content, err := io.ReadAll(files)
			require.NoError(t, err)
			return string(content)
		}
	}
	t.Fatalf("%s is not in the layer", name)
	return ""
}
