package key_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build/key"
)

const recipe = `# syntax=docker/dockerfile:1
ARG BASE=debian:13
ARG TOOLS=tools
ARG UNUSED=1
FROM ${BASE} AS base
ARG VERSION=1
RUN --mount=type=secret,id=pip --mount=type=ssh install

FROM registry.example/${TOOLS}:1 AS tools
COPY tools tools
RUN make tools

FROM base AS test
ARG TEST_LEVEL
COPY tests tests
COPY app app
ENTRYPOINT test

FROM base AS runtime
COPY --from=tools /tools /tools
COPY --from=busybox:1 /bin/sh /bin/sh
RUN --mount=type=bind,from=helper:1,target=/helper run
RUN --mount=type=bind,source=generated,target=/g generate
COPY app app
COPY package*.json ./
COPY <<EOF /motd
hello
EOF
CMD ["run"]
`

// project is a build context, and what else goes into a key.
type project struct {
	t   *testing.T
	dir string
	in  key.Inputs

	digests map[string]string
}

func newProject(t *testing.T) *project {
	p := &project{t: t, dir: filepath.Join(t.TempDir(), "project"), digests: map[string]string{}}
	for name, content := range map[string]string{
		"Dockerfile": recipe, "app/main.py": "main", "app/run.sh": "run", "tests/test_main.py": "test", "package.json": "{}",
		"package-lock.json": "{}", "tools/Makefile": "all:", "README.md": "read", "generated/a": "a", ".gitignore": "generated\n",
		".dockerignore": "ignored\n", "ignored/x": "x", "node_modules/m": "m",
	} {
		p.write(name, content)
	}
	for _, image := range []string{"debian:13", "debian:14", "registry.example/tools:1", "registry.example/other:1", "busybox:1", "helper:1"} {
		p.digests[image] = fmt.Sprintf("sha256:%064x", len(image))
	}
	p.in = key.Inputs{
		Target: "runtime", Platform: "linux/amd64", Args: map[string]string{}, Secrets: []string{"pip"}, Recipe: "1", Generation: "0",
		Resolve: func(_ context.Context, image string) (string, error) {
			digest, ok := p.digests[image]
			if !ok {
				return "", errors.New("no such image")
			}
			return digest, nil
		},
	}
	return p
}

func (p *project) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

func (p *project) write(name, content string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.must(os.WriteFile(p.path(name), []byte(content), 0o644))
}

func (p *project) replace(old, with string) {
	p.t.Helper()
	text, err := os.ReadFile(p.path("Dockerfile"))
	p.must(err)
	require.Contains(p.t, string(text), old)
	p.write("Dockerfile", strings.Replace(string(text), old, with, 1))
}

func (p *project) key() key.Key {
	p.t.Helper()
	in := p.in
	var err error
	in.Context, err = key.Read(p.dir, "Dockerfile", "")
	p.must(err)
	in.Dockerfile, err = os.ReadFile(p.path("Dockerfile"))
	p.must(err)
	k, err := key.Of(p.t.Context(), in)
	p.must(err)
	return k
}

func (p *project) must(err error) {
	p.t.Helper()
	require.NoError(p.t, err)
}

// Each part of the key makes another key, and so another image, by itself.
func TestWhatMatters(t *testing.T) {
	for name, change := range map[string]func(*project){
		"a file":                  func(p *project) { p.write("app/main.py", "other") },
		"a new file":              func(p *project) { p.write("app/new.py", "") },
		"a file that git ignores": func(p *project) { p.write("generated/a", "other") },
		"a file that is gone":     func(p *project) { p.must(os.Remove(p.path("app/run.sh"))) },
		"the name of a file":      func(p *project) { p.must(os.Rename(p.path("app/run.sh"), p.path("app/run2.sh"))) },
		"an empty directory":      func(p *project) { p.must(os.Mkdir(p.path("app/empty"), 0o755)) },
		"the executable bit":      func(p *project) { p.must(os.Chmod(p.path("app/run.sh"), 0o755)) },
		"a link":                  func(p *project) { p.must(os.Symlink("main.py", p.path("app/link"))) },
		"a file becomes a link": func(p *project) {
			p.must(errors.Join(os.Remove(p.path("app/run.sh")), os.Symlink("main.py", p.path("app/run.sh"))))
		},
		"a wildcard's file":                  func(p *project) { p.write("package-lock.json", "[]") },
		"a file of another stage":            func(p *project) { p.write("tools/Makefile", "none:") },
		".dockerignore leaves files out":     func(p *project) { p.write(".dockerignore", "ignored\napp/run.sh\n") },
		"an instruction":                     func(p *project) { p.replace("generate", "generate more") },
		"a here-document":                    func(p *project) { p.replace("hello", "good day") },
		"an instruction of the base":         func(p *project) { p.replace("install", "install more") },
		"an instruction that is copied from": func(p *project) { p.replace("make tools", "make all") },
		"the stage":                          func(p *project) { p.in.Target = "test" },
		"the platform":                       func(p *project) { p.in.Platform = "linux/arm64" },
		"a build argument":                   func(p *project) { p.in.Args["VERSION"] = "2" },
		"a build argument of FROM":           func(p *project) { p.in.Args["TOOLS"] = "other" },
		"the default of a global argument":   func(p *project) { p.replace("TOOLS=tools", "TOOLS=other") },
		"an argument of the frontend":        func(p *project) { p.in.Args["BUILDKIT_SYNTAX"] = "x" },
		"the epoch":                          func(p *project) { p.in.Args["SOURCE_DATE_EPOCH"] = "1" },
		"the digest of the base":             func(p *project) { p.digests["debian:13"] = "sha256:1" },
		"the digest that COPY takes from":    func(p *project) { p.digests["busybox:1"] = "sha256:1" },
		"the digest that a mount takes from": func(p *project) { p.digests["helper:1"] = "sha256:1" },
		"a secret is not given":              func(p *project) { p.in.Secrets = nil },
		"an agent is given":                  func(p *project) { p.in.SSH = true },
		"the recipe":                         func(p *project) { p.in.Recipe = "2" },
		"the generation":                     func(p *project) { p.in.Generation = "1" },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			before := p.key()
			assert.Empty(t, before.Moving)
			assert.Equal(t, before, p.key(), "the same twice")
			change(p)
			after := p.key()
			assert.NotEqual(t, before.Build, after.Build)
			assert.NotEqual(t, before.Entries, after.Entries, "explained")
			moves := name == "the generation" || strings.HasPrefix(name, "the digest")
			assert.Equal(t, moves, before.Source == after.Source, "the source key leaves out what moves by itself")
		})
	}
}

func TestWhatDoesNotMatter(t *testing.T) {
	for name, change := range map[string]func(*project){
		"a test":                        func(p *project) { p.write("tests/test_main.py", "other") },
		"a file that nothing reads":     func(p *project) { p.write("README.md", "other") },
		"a new file that nothing reads": func(p *project) { p.write("docs/a", "") },
		"an ignored file":               func(p *project) { p.write("ignored/x", "other") },
		"times":                         func(p *project) { p.must(os.Chtimes(p.path("app/main.py"), time.Time{}, time.Unix(1, 0))) },
		"the umask":                     func(p *project) { p.must(os.Chmod(p.path("app/main.py"), 0o600)) },
		"the directory": func(p *project) {
			p.must(os.Rename(p.dir, p.dir+"-moved"))
			p.dir += "-moved"
		},
		"another stage":                 func(p *project) { p.replace("ENTRYPOINT test", "ENTRYPOINT other") },
		"a new stage":                   func(p *project) { p.replace("FROM base AS test", "FROM nothing AS new\nRUN a\nFROM base AS test") },
		"a comment":                     func(p *project) { p.replace("CMD", "# what runs\nCMD") },
		"an argument of another stage":  func(p *project) { p.in.Args["TEST_LEVEL"] = "2" },
		"an argument that nothing uses": func(p *project) { p.in.Args["UNUSED"] = "2" },
		"an argument that is not there": func(p *project) { p.in.Args["NOT_THERE"] = "2" },
		"another secret":                func(p *project) { p.in.Secrets = append(p.in.Secrets, "other") },
		".dockerignore":                 func(p *project) { p.write(".dockerignore", "# nothing more\nignored\n*.pyc\n") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			before := p.key()
			change(p)
			assert.Equal(t, before, p.key())
		})
	}
}

// How a Dockerfile is written makes no difference for what it reads.
func TestWhatMattersInUnusualSpelling(t *testing.T) {
	const document = "COPY <<robots.txt <<humans.txt /html/\n# all\nrobots.txt\nFROM here\nhumans.txt\n"
	for _, text := range []string{
		"\ufeffFROM debian:13\nCOPY app /\nRUN --mount=type=secret,source=pip a\n",
		"FROM debian:13\nLABEL a=b\\\\\nCOPY app /\nRUN --mount=type=secret,\\\nid=pip a\n",
		"FROM debian:13\nCOPY ap\\\np /\nRUN --mount=\"type=secret,id=pip\" a\n",
		"FROM debian:13\n" + document + "COPY app /\nRUN --mount=type=secret,target=/run/pip a\n",
		"#escape=`\r\nfrom debian:13\r\ncopy a`\r\npp /\r\nrun --mount=type=secret,id=pip a\r\n",
		"FROM debian:13\nRUN <<-'THE END' sh\n\tcat <<EOF\n\tEOF\n\tTHE END\nCOPY\vapp /\nRUN --mount=type=secret,id=pip a\n",
	} {
		p := newProject(t)
		p.in.Target = ""
		p.write("Dockerfile", text)
		before := p.key()
		assert.Empty(t, before.Moving, text)
		assert.Equal(t, []string{"debian:13"}, slices.Sorted(maps.Keys(before.Images)), text)
		p.write("app/main.py", "other")
		after := p.key()
		assert.NotEqual(t, before.Build, after.Build, text)
		p.in.Secrets = nil
		assert.NotEqual(t, after.Build, p.key().Build, "a secret: %s", text)
	}
	p := newProject(t)
	p.in.Target = ""
	p.write("Dockerfile", "FROM debian:13\n"+document)
	before := p.key()
	p.replace("# all", "# none")
	assert.NotEqual(t, before.Build, p.key().Build, "a line of a here-document that looks like a comment")
}

// The engines build with a frontend of their own, so that a registry with the named one need not be reached.
func TestASyntaxLineIsNoPart(t *testing.T) {
	p := newProject(t)
	p.in.Target = ""
	p.write("Dockerfile", "# syntax=docker/dockerfile:1.7-labs\nFROM debian:13\nCOPY app /\n")
	k := p.key()
	assert.Empty(t, k.Moving)
	assert.Len(t, k.Build, 64)
	assert.NotContains(t, k.Images, "docker/dockerfile:1.7-labs")
}

// A COPY of everything sees the Dockerfile, unless it is ignored.
func TestCopyOfEverything(t *testing.T) {
	p := newProject(t)
	p.write("Dockerfile", "FROM debian:13\nCOPY . .\nFROM debian:13 AS test\nRUN a\n")
	p.in.Target = "0"
	before := p.key()
	p.replace("RUN a", "RUN b")
	assert.NotEqual(t, before.Build, p.key().Build)

	p.write(".dockerignore", "Dockerfile\n.dockerignore\n")
	before = p.key()
	p.replace("RUN b", "RUN c")
	assert.Equal(t, before, p.key())
	p.write("tests/test_main.py", "other")
	assert.NotEqual(t, before.Build, p.key().Build)
}

// What --exclude leaves out of a directory does not matter, and all that it may not leave out does.
func TestExclude(t *testing.T) {
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, tt := range []struct {
		instruction, file string
		matters           bool
	}{
		{"COPY --exclude=*.md docs docs", "docs/a.md", false},
		{"COPY --exclude=*.md docs docs", "docs/a.txt", true},
		{"COPY --exclude=*.md docs docs", "docs/sub/b.md", true}, // as in .dockerignore, * is not for deeper directories
		{"COPY --exclude=**/*.md docs docs", "docs/sub/b.md", false},
		{"COPY --exclude=sub docs docs", "docs/sub/b.md", false},
		{"COPY --exclude=docs/sub docs docs", "docs/sub/b.md", true}, // the patterns are relative to what is copied
		{"COPY --exclude=sub --exclude=!sub/b.md docs docs", "docs/sub/b.md", true},
		{"COPY --exclude=sub --exclude=!sub/b.md docs docs", "docs/sub/c.txt", false},
		{"COPY --exclude=!sub/b.md --exclude=sub docs docs", "docs/sub/b.md", false},   // the last one decides
		{"COPY --exclude=sub/c.txt --exclude=!sub docs docs", "docs/sub/c.txt", false}, // as BuildKit goes down: sub was not left out
		{"COPY --exclude=*.md . .", "README.md", false},
		{"COPY --exclude=*.md . .", "docs/a.md", true},
		{"COPY --exclude=docs . .", "docs/a.md", false},
		{"COPY --exclude=*.md --link d* /d/", "docs/a.md", false},
		{"COPY --exclude=*.md *.md /d/", "README.md", true}, // a file that is named is copied
		{"COPY --exclude=*.md docs/*.md /d/", "docs/a.md", true},
		{"COPY --exclude=*.md d*/sub /d/", "docs/sub/b.md", false},
		{"ADD --exclude=*.md docs docs", "docs/a.md", false},
		{"ONBUILD COPY --exclude=*.md docs docs", "docs/a.md", false},
		{`COPY --exclude=*.md ["docs", "/d"]`, "docs/a.md", false},
		{`COPY --exclude="*.md" --exclude='a b' docs docs`, "docs/a.md", false},
		{"COPY --exclude=*.md docs docs\nCOPY docs/a.md /", "docs/a.md", true},
		{"COPY --exclude=*.md docs docs\nRUN --mount=type=bind,source=docs true", "docs/a.md", true},
		// What they leave out is not certain.
		{"COPY --exclude=$EXT docs docs", "docs/a.md", true},
		{"COPY --parents --exclude=*.md docs /", "docs/a.md", true},
		{"COPY --exclude=*.md $DIR docs", "docs/a.md", true},
		{"COPY --exclude=[ docs docs", "docs/a.md", true},
		{"COPY --exclude=*.md linked docs", "docs/a.md", true},
		{"COPY --exclude=*.md docs/** /d/", "docs/a.md", true},
	} {
		t.Run(tt.instruction+" "+tt.file, func(t *testing.T) {
			p := newProject(t)
			for _, name := range []string{"docs/a.md", "docs/a.txt", "docs/sub/b.md", "docs/sub/c.txt"} {
				p.write(name, "one")
			}
			p.must(os.Symlink("docs", p.path("linked")))
			p.write("Dockerfile", "FROM x@"+digest+"\n"+tt.instruction+"\n")
			p.write(".dockerignore", "Dockerfile\n")
			p.in.Target = ""
			before := p.key()
			p.write(tt.file, "other")
			after := p.key()
			assert.Equal(t, tt.matters, before.Build != after.Build)
			p.write("Dockerfile", "FROM x@"+digest+"\n"+strings.Replace(tt.instruction, "--exclude=", "--exclude=x --exclude=", 1)+"\n")
			assert.NotEqual(t, after.Build, p.key().Build, "the patterns are in the key themselves")
		})
	}
}

// What a COPY reads through a link may stand anywhere.
func TestLinks(t *testing.T) {
	p := newProject(t)
	p.must(os.Rename(p.path("app"), p.path("sources")))
	p.must(os.Symlink("sources", p.path("app")))
	before := p.key()
	p.write("sources/main.py", "other")
	assert.NotEqual(t, before.Build, p.key().Build)
}

func TestWhatIsNotReusable(t *testing.T) {
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for text, want := range map[string]string{
		"FROM debian:13\nADD https://example.com/a.tar /a\n":                              "ADD https://example.com/a.tar /a: it has no checksum",
		"FROM debian:13\nADD --checksum=" + digest + " https://example.com/a /a\n":        "",
		"FROM debian:13\nADD https://github.com/o/r.git#main /r\n":                        "ADD https://github.com/o/r.git#main /r: it has no checksum",
		"FROM debian:13\nADD git@github.com:o/r.git#" + strings.Repeat("a", 40) + " /r\n": "",
		"FROM debian:13\nADD $URL /a\n":                                                   "ADD $URL /a: it has no checksum",
		"FROM debian:13\nARG DIR=app\nADD $DIR /a\n":                                      "",
		"FROM none:1\n":                "the digest of the image none:1 is not known: no such image",
		"FROM none:1@" + digest + "\n": "",
		"FROM $WHICH\n":                "FROM $WHICH: which image that is cannot be read",
		"FROM ${WHICH:-debian:13}\n":   "",
		"FROM scratch\nADD https://example.com/a /a\nFROM scratch\nCOPY app /\n": "",
	} {
		p := newProject(t)
		p.write("Dockerfile", text)
		p.in.Target = ""
		k := p.key()
		if want == "" {
			assert.Empty(t, k.Moving, text)
			assert.Len(t, k.Build, 64, text)
		} else {
			assert.Equal(t, []string{want}, k.Moving, text)
			assert.Empty(t, k.Build, text)
		}
		assert.Len(t, k.Source, 64, text)
	}
}

func TestSees(t *testing.T) {
	p := newProject(t)
	p.write(".git/HEAD", "ref: refs/heads/main")
	p.write(".gitignore", "*.log")
	p.in.Target = ""
	for text, sees := range map[string]bool{
		"FROM scratch\nCOPY . .\n":                                    true,
		"FROM scratch\nCOPY .git/HEAD /at\n":                          true,
		"FROM scratch\nCOPY src .gitignore /\n":                       false,
		"FROM scratch AS other\nCOPY . .\nFROM scratch\nCOPY src /\n": false,
	} {
		p.write("Dockerfile", text)
		assert.Equal(t, sees, p.key().Sees(".git"), text)
	}
}

func TestGenerations(t *testing.T) {
	p := newProject(t)
	first := p.key()
	second := first.At("1")
	p.in.Generation = "1"
	assert.Equal(t, p.key(), second)
	assert.Equal(t, first, second.At("0"))
}

func TestNoSuchStage(t *testing.T) {
	p := newProject(t)
	c, err := key.Read(p.dir, "Dockerfile", "")
	p.must(err)
	_, err = key.Of(t.Context(), key.Inputs{Context: c, Dockerfile: []byte(recipe), Target: "none"})
	assert.ErrorContains(t, err, `no stage "none"`)
}

// A definition is what it is for any of its parts, and never the values of secrets.
func TestDefinition(t *testing.T) {
	base := func() key.Definition {
		return key.Definition{
			Stages: map[string]key.Key{"unit": {Build: "a"}}, Images: []string{"redis:8"}, Settings: map[string]string{"unit.command": `["a"]`},
			Secrets: []string{"TOKEN"}, Recipe: "1", Resolve: func(context.Context, string) (string, error) { return "sha256:1", nil },
		}
	}
	of := func(d key.Definition) string {
		t.Helper()
		k, err := d.Key(t.Context())
		require.NoError(t, err)
		return k.Build
	}
	keys := map[string]string{of(base()): "base"}
	assert.Equal(t, of(base()), of(base()))
	for name, change := range map[string]func(*key.Definition){
		"stage":   func(d *key.Definition) { d.Stages["unit"] = key.Key{Build: "b"} },
		"setting": func(d *key.Definition) { d.Settings["unit.command"] = `["b"]` },
		"secret":  func(d *key.Definition) { d.Secrets = nil },
		"recipe":  func(d *key.Definition) { d.Recipe = "2" },
		"image":   func(d *key.Definition) { d.Images = []string{"redis:9"} },
		"digest": func(d *key.Definition) {
			d.Resolve = func(context.Context, string) (string, error) { return "sha256:2", nil }
		},
	} {
		d := base()
		change(&d)
		assert.Empty(t, keys[of(d)], name)
		keys[of(d)] = name
	}
	d := base()
	d.Stages["unit"] = key.Key{Moving: []string{"ADD x: it has no checksum"}}
	k, err := d.Key(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"stage unit: ADD x: it has no checksum"}, k.Moving)
	assert.Empty(t, k.Build)
}

// A file is read again when it changed, and only then.
func TestHashesAreKept(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "keys")
	file := filepath.Join(dir, "a")
	of := func() string {
		t.Helper()
		c, err := key.Read(dir, "Dockerfile", cache)
		require.NoError(t, err)
		k, err := key.Of(t.Context(), key.Inputs{Context: c, Dockerfile: []byte("FROM scratch\nCOPY . /\n"), Platform: "linux/amd64"})
		require.NoError(t, err)
		return k.Build
	}
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o644))
	one := of()
	assert.Equal(t, one, of())
	// The same size and the same time, at once: a build made of it must not be taken for the one before.
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o644))
	require.NoError(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	two := of()
	assert.NotEqual(t, one, two)
	kept := func() bool { names, _ := os.ReadDir(cache); return len(names) == 1 }
	require.Eventually(t, func() bool { return of() == two && kept() }, 5*time.Second, 20*time.Millisecond, "a file that is old enough is kept")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o644))
	require.NoError(t, os.Chtimes(file, info.ModTime(), info.ModTime()))
	assert.Equal(t, one, of())
	require.NoError(t, os.Remove(file))
	assert.NotEqual(t, one, of())
}

// 10,000 files whose hashes are known take milliseconds.
func BenchmarkWarm(b *testing.B) {
	dir, cache := b.TempDir(), b.TempDir()
	content := make([]byte, 4<<10)
	for i := range 10_000 {
		name := filepath.Join(dir, fmt.Sprintf("d%03d", i/100), fmt.Sprintf("f%d", i))
		require.NoError(b, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(b, os.WriteFile(name, content, 0o644))
	}
	require.NoError(b, os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("**/*.pyc\nnode_modules\n.git\n"), 0o644))
	of := func() {
		c, err := key.Read(dir, "Dockerfile", cache)
		require.NoError(b, err)
		_, err = key.Of(b.Context(), key.Inputs{Context: c, Dockerfile: []byte("FROM scratch\nCOPY . /\n")})
		require.NoError(b, err)
	}
	began := time.Now()
	of()
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "cold-ms")
	for b.Loop() {
		of()
	}
}
