package canonical

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"path"
	"strings"
	"time"
)

// A module that Python has compiled, a .pyc, says the time of its source. If the source has another one, Python compiles it
// again: at each start of a container, where it may not write. The times of a build are not those of the canonical form, so a
// module whose source gets another time says the hash of its source in place of the time, in the way of PEP 552, as pip and
// py_compile write it where SOURCE_DATE_EPOCH is set. Python then reads the source and compares, so a module is never taken
// for a source that a later instruction changed.

// pycHeader is what a .pyc begins with: the number of the compiler, the flags, and the time in seconds since 1970 and size in
// bytes of the source, or the hash of it; https://peps.python.org/pep-0552/. All are little-endian.
const pycHeader = 16

// checkedHash are the flags of a .pyc that says a hash, which Python compares with its source.
const checkedHash = 0b11

// The numbers of compilers that hash sources: those of Python 3.7 to 3.10 with SipHash-2-4, those since 3.11 with SipHash-1-3.
// https://github.com/python/cpython/blob/main/Include/internal/pycore_magic_number.h
const (
	firstOf37, lastOf310, firstOf311 = 3394, 3439, 3495
	firstOf1                         = 20121 // and above: Python 1 and 2
)

// module is a .pyc.
type module struct {
	name         string
	compiler     [4]byte
	made, length uint32 // the time and the size of the source that it was compiled from
}

// readModule reads the header of a .pyc. It is nil for one that says no time.
func readModule(name string, content io.Reader) (*module, error) {
	var header [pycHeader]byte
	if _, err := io.ReadFull(content, header[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil // too short for one
		}
		return nil, err
	}
	m := &module{
		name: name, compiler: [4]byte(header[:4]),
		made: binary.LittleEndian.Uint32(header[8:]), length: binary.LittleEndian.Uint32(header[12:]),
	}
	if binary.LittleEndian.Uint32(header[4:]) != 0 || m.rounds() == 0 {
		return nil, nil
	}
	return m, nil
}

// rounds is how often the hash of the compiler mixes after each eight bytes; 0 for a compiler that is not known to hash.
func (m *module) rounds() int {
	number := binary.LittleEndian.Uint16(m.compiler[:])
	switch {
	case m.compiler[2] != '\r' || m.compiler[3] != '\n':
		return 0
	case firstOf37 <= number && number <= lastOf310:
		return 2
	case firstOf311 <= number && number < firstOf1:
		return 1
	}
	return 0
}

// header is that of the module with the hash of its source.
func (m *module) header(source []byte) []byte {
	out := make([]byte, 0, pycHeader)
	out = append(out, m.compiler[:]...)
	out = binary.LittleEndian.AppendUint32(out, checkedHash)
	return binary.LittleEndian.AppendUint64(out, sipHash(m.rounds(), uint64(binary.LittleEndian.Uint32(m.compiler[:])), source))
}

// sourceOf is the path of the source of a .pyc, as importlib.util.source_from_cache finds it; "" for a file elsewhere.
func sourceOf(pyc string) string {
	dir, file := path.Split(pyc)
	above, found := strings.CutSuffix(dir, "__pycache__/")
	parts := strings.Split(file, ".")
	if !found || len(parts) != 3 && len(parts) != 4 {
		return ""
	}
	return above + parts[0] + ".py"
}

// maxSource bounds the source of a module, in bytes.
const maxSource = 16 << 20

// modules returns new headers for the Python modules of the last of some groups whose sources get another time, by the paths of
// the modules. The sources are in that group or in one before: those of the base image keep their times.
func (s *source) modules(ctx context.Context, groups []made, r rewriter) (map[string][]byte, error) {
	last := len(groups) - 1
	if groups[last].Context {
		return nil, nil // what a clone has compiled; an engine has changed the times of its sources already
	}
	compiled, files, err := s.compiled(ctx, groups[last].layers)
	if err != nil {
		return nil, err
	}
	headers := map[string][]byte{}
	for i := last; i >= 0 && len(compiled) > 0; i-- {
		if i < last {
			if _, files, err = s.compiled(ctx, groups[i].layers); err != nil {
				return nil, err
			}
		}
		moved := map[string][]*module{} // by the regular files that are their sources
		for of, modules := range compiled {
			h := target(files, of)
			if h == nil {
				continue
			}
			delete(compiled, of)
			if h.Size > maxSource || r.header(h, groups[i].Instruction).ModTime.Equal(h.ModTime.Truncate(time.Second)) {
				continue
			}
			for _, m := range modules {
				if m.made == uint32(h.ModTime.Unix()) && m.length == uint32(h.Size) {
					moved[cleanName(h)] = append(moved[cleanName(h)], m)
				}
			}
		}
		if err := s.rehead(ctx, groups[i].layers, moved, headers); err != nil {
			return nil, err
		}
	}
	return headers, nil
}

// compiled returns the modules of layers by the paths of their sources, and the files that are sources or lead to one.
func (s *source) compiled(ctx context.Context, layers []int) (map[string][]*module, map[string]*tar.Header, error) {
	compiled, files := map[string][]*module{}, map[string]*tar.Header{}
	err := s.each(ctx, layers, func(h *tar.Header, content io.Reader) error {
		name := cleanName(h)
		switch ext := path.Ext(name); {
		case ext == ".py":
			files[name] = h
		case ext == ".pyc" && h.Typeflag == tar.TypeReg:
			of := sourceOf(name)
			m, err := readModule(name, content)
			if err == nil && m != nil && of != "" {
				compiled[of] = append(compiled[of], m)
			}
			return err
		}
		return nil
	})
	return compiled, files, err
}

// rehead adds the new headers of modules, which are given by the files that are their sources.
func (s *source) rehead(ctx context.Context, layers []int, moved map[string][]*module, headers map[string][]byte) error {
	if len(moved) == 0 {
		return nil
	}
	return s.each(ctx, layers, func(h *tar.Header, content io.Reader) error {
		modules := moved[cleanName(h)]
		if len(modules) == 0 {
			return nil
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(content); err != nil {
			return err
		}
		for _, m := range modules {
			headers[m.name] = m.header(text.Bytes())
		}
		return nil
	})
}

// target is the regular file at a path, also at the end of symbolic links, as Debian's sitecustomize.py is one; nil if it is not
// among the files.
func target(files map[string]*tar.Header, name string) *tar.Header {
	for range 8 {
		h := files[name]
		switch {
		case h == nil || h.Typeflag == tar.TypeReg:
			return h
		case h.Typeflag != tar.TypeSymlink:
			return nil
		case path.IsAbs(h.Linkname):
			name = strings.TrimPrefix(path.Clean(h.Linkname), "/")
		default:
			name = path.Join(path.Dir(name), h.Linkname)
		}
	}
	return nil
}

// sipHash is the hash of a text, with so many rounds after each eight bytes: SipHash-1-3 or SipHash-2-4, with a key of 64 bits.
// https://www.aumasson.jp/siphash/siphash.pdf
func sipHash(rounds int, key uint64, text []byte) uint64 {
	v0, v1, v2, v3 := key^0x736f6d6570736575, uint64(0x646f72616e646f6d), key^0x6c7967656e657261, uint64(0x7465646279746573)
	mix := func(times int) {
		for range times {
			v0 += v1
			v1 = bits.RotateLeft64(v1, 13) ^ v0
			v0 = bits.RotateLeft64(v0, 32)
			v2 += v3
			v3 = bits.RotateLeft64(v3, 16) ^ v2
			v0 += v3
			v3 = bits.RotateLeft64(v3, 21) ^ v0
			v2 += v1
			v1 = bits.RotateLeft64(v1, 17) ^ v2
			v2 = bits.RotateLeft64(v2, 32)
		}
	}
	word := func(m uint64) {
		v3 ^= m
		mix(rounds)
		v0 ^= m
	}
	last := uint64(len(text)) << 56
	for ; len(text) >= 8; text = text[8:] {
		word(binary.LittleEndian.Uint64(text))
	}
	for i, b := range text {
		last |= uint64(b) << (8 * i)
	}
	word(last)
	v2 ^= 0xff
	mix(rounds + finalRounds)
	return v0 ^ v1 ^ v2 ^ v3
}

// finalRounds is how many more rounds the end of the hash has: SipHash-2-4 has four of them, and SipHash-1-3 three.
const finalRounds = 2
