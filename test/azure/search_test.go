package azure

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// beginning is how each token of the stand-in begins: its header names the algorithm and the type, in this order.
const beginning = "eyJhbGciOiJSUzI1NiIs"

// searchFiles looks for tokens in the files below a directory that changed since these tests began, whatever their size: the
// engine's cache, layers and logs, and the platform's. Compressed files are searched as they are and as what they hold. The file
// that makes a shell a workflow's job holds a token by design.
func searchFiles(t *testing.T, dir string, tokens []string) {
	t.Helper()
	for _, token := range tokens {
		require.Equal(t, beginning, token[:len(beginning)], "the tokens begin in another way: change the constant")
	}
	var files, compressed int
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == local.Azure.EnvFile || !changed(path) {
			return nil // what ended meanwhile
		}
		found, packed := searchFile(t, path, tokens)
		if found {
			t.Errorf("%s holds a token", path)
		}
		files++
		if packed {
			compressed++
		}
		return nil
	}))
	t.Logf("searched %d files, of which %d are compressed, for %d tokens", files, compressed, len(tokens))
	assert.NotZero(t, files)
	assert.NotZero(t, compressed, "the layers of the image")
}

// changed reports whether a file has changed since these tests began: one that has not cannot hold what was issued since. It is the
// time of the inode that tells, which nobody sets: the time of the content is set by what unpacks a layer.
func changed(path string) bool {
	var stat unix.Stat_t
	return unix.Lstat(path, &stat) == nil && !time.Unix(stat.Ctim.Unix()).Before(began)
}

// searchFile reports whether a file, or what is compressed in it, holds a token.
func searchFile(t *testing.T, path string, tokens []string) (found, packed bool) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		return false, false // it ended meanwhile
	}
	defer file.Close()
	if holds(file, tokens) {
		return true, false
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return false, false
	}
	in := bufio.NewReader(file)
	head, _ := in.Peek(4)
	var inside io.Reader
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		inside, err = gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var decoder *zstd.Decoder
		if decoder, err = zstd.NewReader(in); err == nil {
			defer decoder.Close()
			inside = decoder
		}
	case bytes.HasPrefix(head, []byte{0x78, 0x01}), bytes.HasPrefix(head, []byte{0x78, 0x9c}): // an object of git
		inside, err = zlib.NewReader(in)
	}
	if err != nil || inside == nil {
		return false, false
	}
	return holds(inside, tokens), true
}

// holds reports whether a text has one of the tokens. What cannot be read any more has none.
func holds(in io.Reader, tokens []string) bool {
	const longest = 16 << 10 // of a token
	buffer, kept := make([]byte, 1<<20), 0
	for {
		n, err := io.ReadFull(in, buffer[kept:])
		text := buffer[:kept+n]
		if bytes.Contains(text, []byte(beginning)) {
			for _, token := range tokens {
				if bytes.Contains(text, []byte(token)) {
					return true
				}
			}
		}
		if err != nil {
			return false
		}
		kept = copy(buffer, text[len(text)-longest:])
	}
}

// The search finds what it should: a token across the edge of what is read at once, and in each kind of compressed file.
func TestSearch(t *testing.T) {
	token := beginning + "InR5cCI6IkpXVCJ9.eyJhIjoxfQ.c2lnbmF0dXJl"
	text := append(bytes.Repeat([]byte("x"), 1<<20-10), token...)
	pack := func(w io.WriteCloser, b *bytes.Buffer) []byte {
		_, err := w.Write(text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	var inGzip, inZlib, inZstd bytes.Buffer
	encoder, err := zstd.NewWriter(&inZstd)
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"plain": text, "gzip": pack(gzip.NewWriter(&inGzip), &inGzip), "zlib": pack(zlib.NewWriter(&inZlib), &inZlib), "zstd": pack(encoder, &inZstd),
	} {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		found, _ := searchFile(t, path, []string{token})
		assert.True(t, found, name)
		found, _ = searchFile(t, path, []string{beginning + "another"})
		assert.False(t, found, name)
	}
}
