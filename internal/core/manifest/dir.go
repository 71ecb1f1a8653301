package manifest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// Edit is what would change in a directory. Nothing has been written.
type Edit struct {
	Files      []File       // only those that change
	Changes    []Change     // by file and line
	Matched    int          // references that the target names, those included that were right already
	Remaining  []Remaining  // what names the image and was not set
	Unverified []Unverified // what could not be checked
}

// File is one file of an Edit.
type File struct {
	Path    string // slash-separated, relative to the fs.FS
	Content []byte
}

// Options say how an edit is checked.
type Options struct {
	// Build renders the kustomization in a directory of fsys, offline, to a YAML stream. Its error is [ErrNotRendered]
	// when the kustomization needs what is not in fsys. With a nil Build no kustomization is verified.
	Build func(ctx context.Context, fsys fs.FS, dir string) ([]byte, error)
	// Chart renders a Helm chart of fsys, offline, to a YAML stream. With a nil Chart no values are verified.
	Chart func(ctx context.Context, fsys fs.FS, r ChartRelease) ([]byte, error)
	// Strict makes it an error when something cannot be verified.
	Strict bool
	// unbounded reports that nobody knows where in fsys the repository ends that dir belongs to.
	unbounded bool
}

// ErrNotRendered says that a kustomization needs a remote base, a plugin or a chart.
var ErrNotRendered = errors.New("cannot be rendered offline")

// NoMatchError says that no reference in Path was meant by the target.
type NoMatchError struct {
	Path      string
	Names     []string // what was looked for
	Seen      []Seen   // what is there instead
	Remaining []Remaining
	Unread    []Unverified // what the image may be in, and cannot be read
	Skipped   []string     // files in which no image was looked for, each with the reason

	templates bool   // all that remains stands in templates of charts
	outside   []Seen // what a kustomization gets from outside of Path
}

// most is how many items of a kind an error lists.
const most = 12

// Error names the images that were seen, once each, and the places that name the image and are not set.
func (e *NoMatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no image named %s in %s", strings.Join(e.Names, " or "), e.Path)
	if len(e.Unread) > 0 {
		b.WriteString(": " + list(e.Unread, func(u Unverified) string { return u.File + " " + u.Reason }))
		return b.String()
	}
	if len(e.Remaining) > 0 {
		b.WriteString(": it is named only where bump does not set it, in ")
		b.WriteString(list(e.Remaining, func(r Remaining) string { return fmt.Sprintf("%s (%s: %s)", r.Where(), r.Key, r.Text) }))
		b.WriteString("; " + e.advice())
		return b.String()
	}
	skipped := ""
	if len(e.Skipped) > 0 {
		skipped = "; no image was looked for in " + list(e.Skipped, func(s string) string { return s })
	}
	if len(e.Seen) == 0 {
		b.WriteString(": there is no image reference in any manifest there" + skipped)
		return b.String()
	}
	b.WriteString("; the images there are ")
	var seen []Seen
	for _, s := range e.Seen {
		if !slices.ContainsFunc(seen, func(other Seen) bool { return other.Image == s.Image }) {
			seen = append(seen, s)
		}
	}
	b.WriteString(list(seen, func(s Seen) string { return fmt.Sprintf("%s (%s:%d)", s.Image, s.File, s.Line) }))
	b.WriteString(": name the one that is meant with --replace" + skipped)
	return b.String()
}

// advice says what to do about an image that is named only where it is not set.
func (e *NoMatchError) advice() string {
	const keys = "under gitops.images in aksflow.yaml"
	switch {
	case len(e.outside) > 0:
		from := list(e.outside, func(s Seen) string { return fmt.Sprintf("%s:%d", s.File, s.Line) })
		return fmt.Sprintf("it comes from %s, a base outside of %s, where nothing is edited: bump a path that includes both", from, e.Path)
	case !e.templates:
		return "name the keys " + keys
	}
	advice := "bump does not edit a chart's templates: have them take the image from values.yaml"
	if slices.ContainsFunc(e.Remaining, func(r Remaining) bool { return strings.Contains(r.Text, "{{") }) {
		advice += ", or name the keys of its tag or digest " + keys
	}
	return advice
}

// list joins items, the first of them if they are many.
func list[T any](items []T, text func(T) string) string {
	var out []string
	for _, item := range items {
		if len(out) == most {
			out = append(out, "…")
			break
		}
		out = append(out, text(item))
	}
	return strings.Join(out, ", ")
}

// Plan reads the manifests under dir, a slash-separated directory or file in fsys, and returns what to change so that
// they name the target's image. Nothing outside dir is edited, and links are not written through.
//
// Each kustomization in dir that no other one there uses is an environment. Where an environment's image stands in a
// base outside of dir, or in a file that another environment's images: governs, the image is pinned in its own images:.
// Options.Build is the judge: what it renders must have the new image. Options.Chart is that of Helm values.
//
// Plan fails when nothing matches ([NoMatchError]), when a reference cannot be set so that it is the target when read
// again, and when a file that holds the image, or a kustomization that governs an edited file, is not valid YAML.
//
// Files and Changes are relative to fsys, whose root should be that of the repository. It should be an [fs.ReadLinkFS] if it has
// symbolic links.
func Plan(ctx context.Context, fsys fs.FS, dir string, target Target, o Options) (*Edit, error) {
	return plan(ctx, fsys, dir, target, o, func(name string) string { return name })
}

// plan is Plan with names for messages and changes.
func plan(ctx context.Context, fsys fs.FS, dir string, target Target, o Options, shown func(string) string) (*Edit, error) {
	p, err := newPlanner(ctx, fsys, dir, target, shown)
	if err != nil {
		return nil, err
	}
	p.Options = o
	return p.finish(ctx)
}

// Find returns the references under dir that target names, by file and line. Finding none is no error.
func Find(ctx context.Context, fsys fs.FS, dir string, target Target) ([]Seen, error) {
	p, err := newPlanner(ctx, fsys, dir, target, func(name string) string { return name })
	if err != nil {
		return nil, err
	}
	var out []Seen
	for _, h := range p.held {
		u, err := p.open(h)
		if err != nil {
			return nil, err
		}
		for _, r := range u.References(p.want) {
			if r.Meant {
				out = append(out, Seen{File: p.shown(h.path), Line: r.Line, Image: r.Image.String(), Matched: true, Right: r.Right})
			}
		}
	}
	return out, nil
}

// newPlanner reads the manifests under dir and keeps those that may hold the image.
func newPlanner(ctx context.Context, fsys fs.FS, dir string, target Target, shown func(string) string) (*planner, error) {
	w, err := target.Wanted()
	if err != nil {
		return nil, fault.Usage(err)
	}
	p := &planner{fsys: fsys, shown: shown, want: w, traces: w.Traces()}
	if p.dir, err = clean(dir); err != nil {
		return nil, err
	}
	if p.dir, err = p.resolve(p.dir); err != nil {
		return nil, err
	}
	info, err := fs.Stat(fsys, p.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", shown(p.dir), pathReason(err))
	}
	if err := p.collect(ctx, info.IsDir()); err != nil {
		return nil, err
	}
	if err := p.scan(ctx); err != nil {
		return nil, err
	}
	if err := p.explicit(); err != nil {
		return nil, err
	}
	p.findCharts()
	p.requireHost()
	if err := p.layered(); err != nil {
		return nil, err
	}
	slices.SortFunc(p.held, func(a, b held) int { return cmp.Compare(a.path, b.path) })
	return p, nil
}

// hold reads a file and keeps it among those that may hold the image.
func (p *planner) hold(name string) error {
	if slices.ContainsFunc(p.held, func(h held) bool { return h.path == name }) {
		return nil
	}
	var content bytes.Buffer
	if err := p.read(name, &content); err != nil {
		return err
	}
	p.held = append(p.held, held{name, content.Bytes()})
	return nil
}

// explicit finds the files of the references that the user named.
func (p *planner) explicit() error {
	p.keys = map[string][]Keys{}
	for _, k := range p.want.Keys() {
		base := p.dir
		if slices.Equal(p.own, []string{p.dir}) {
			base = path.Dir(p.dir)
		}
		name := path.Join(base, k.File)
		if !p.inside(name) || !fs.ValidPath(name) {
			return fault.Usagef("%s: %s is not in %s", cmp.Or(k.Where, "gitops.images"), k.File, p.shown(p.dir))
		}
		if err := p.hold(name); err != nil {
			return fmt.Errorf("%s: %w", cmp.Or(k.Where, "gitops.images"), err)
		}
		p.keys[name] = append(p.keys[name], k)
	}
	return nil
}

// requireHost looks whether an image with the target's own host stands anywhere.
func (p *planner) requireHost() {
	host := []byte(p.want.Image().Host())
	for _, h := range p.held {
		if p.want.HostRequired || len(host) == 0 || !bytes.Contains(h.content, host) {
			continue
		}
		if u, err := p.open(h); err == nil {
			p.want.HostRequired = u.StandsOwn(p.want)
		}
	}
}

// open reads a file that is held.
func (p *planner) open(h held) (*edit.Unit, error) {
	return edit.Read(h.path, p.shown(h.path), h.content, edit.Reading{Traces: p.traces, Below: p.layersOf(h.path), Keys: p.keys[h.path]})
}

// clean refuses a path that leaves the file system it is relative to.
func clean(dir string) (string, error) {
	c := path.Clean("/" + dir)[1:]
	if c == "" {
		c = "."
	}
	if path.IsAbs(dir) || !fs.ValidPath(path.Clean(cmp.Or(dir, "."))) {
		return "", fault.Usagef("path %s is outside the repository: give one relative to its root", dir)
	}
	return c, nil
}

// pathReason drops the operation and path that the caller has said already.
func pathReason(err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return perr.Err
	}
	return err
}

// planner is one run of Plan.
type planner struct {
	Options
	fsys   fs.FS
	dir    string
	shown  func(name string) string // a file's name for people
	want   edit.Wanted
	traces [][]byte
	keys   map[string][]Keys // by file

	own            []string          // files to edit, in order
	templates      []string          // the templates of charts, which are not edited
	links          map[string]string // links in dir to files outside of it, and where they lead
	kustomizations []string          // those among own

	mu     sync.Mutex
	held   []held       // files that may hold the image
	tagged []string     // other files that may hold its tag
	naming []string     // files that name values files of charts, or that make Applications
	unread []Unverified // what may hold the image, and cannot be read

	charts map[string]string // the directory of a chart, by the values file that is laid over its own
	loose  []looseTag
	sets   map[string]bool // ApplicationSets whose charts were rendered: whether one gives the image

	values      map[string]*edit.Values       // Helm values, by file
	graph       map[string]*kustomizationFile // by file
	directories map[string]*kustomizationFile // by path: nil where there is none
	bases       map[string][]string           // the images that come out of a kustomization, or a file outside dir

	environments []*root
	results      map[string]*Result // by held file
	pins         map[string][]string
	governed     map[string]map[string]bool
	edit         *Edit
	given        bool // a kustomization gives the image, perhaps from a base outside of dir that has it already
	unedited     bool // files are read as they were before the edit
}

// held is a file that was read and kept.
type held struct {
	path    string
	content []byte
}

// collect walks dir for manifests.
func (p *planner) collect(ctx context.Context, isDir bool) error {
	p.links = map[string]string{}
	if !isDir {
		p.own = []string{p.dir}
		if edit.IsKustomization(p.dir) {
			p.kustomizations = p.own
		}
		return nil
	}
	chartDirs := map[string]bool{}
	return fs.WalkDir(p.fsys, p.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", p.shown(name), pathReason(err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		base := d.Name()
		switch {
		case d.IsDir():
			if name != p.dir && strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			if base == "templates" && chartDirs[path.Dir(name)] {
				return p.collectTemplates(ctx, name) // text for Helm's template engine
			}
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			return p.link(name)
		case !d.Type().IsRegular() || !edit.IsManifest(name):
			return nil
		case base == "Chart.yaml":
			chartDirs[path.Dir(name)] = true // before templates in the order of the walk
		}
		p.own = append(p.own, name)
		if edit.IsKustomization(name) {
			p.kustomizations = append(p.kustomizations, name)
		}
		return nil
	})
}

// link looks at a symbolic link in dir. One that stays in dir needs nothing: what it leads to is walked.
func (p *planner) link(name string) error {
	if ext := path.Ext(name); ext != "" && !edit.IsManifest(name) {
		return nil
	}
	to, err := p.resolve(name)
	if err != nil {
		return err
	}
	if !p.inside(to) && edit.IsManifest(name) {
		p.links[name] = to
	}
	return nil
}

func (p *planner) inside(name string) bool {
	return p.dir == "." || name == p.dir || strings.HasPrefix(name, p.dir+"/")
}

// lfsPointer is how a file begins whose content Git LFS keeps elsewhere.
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
var lfsPointer = []byte("version https://git-lfs.github.com/spec/")

// linkLimit is how many symbolic links one path may lead through, as on Linux.
const linkLimit = 40

// resolve follows the symbolic links in all elements of a path, and refuses those that leave the file system.
func (p *planner) resolve(name string) (string, error) {
	links, ok := p.fsys.(fs.ReadLinkFS)
	if !ok || name == "." {
		return name, nil
	}
	at, todo := ".", strings.Split(name, "/")
	for followed := 0; len(todo) > 0; {
		next := path.Join(at, todo[0])
		info, err := links.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) && followed > 0 {
			return path.Join(next, path.Join(todo[1:]...)), nil // a dangling link is for who reads through it
		}
		if err != nil {
			return "", fmt.Errorf("cannot read %s: %w", p.shown(name), pathReason(err))
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at, todo = next, todo[1:]
			continue
		}
		target, err := links.ReadLink(next)
		if err != nil {
			return "", fmt.Errorf("cannot read the link %s: %w", p.shown(next), pathReason(err))
		}
		to := path.Join(at, target)
		if path.IsAbs(target) || !fs.ValidPath(to) {
			return "", fmt.Errorf("%s is a symbolic link that leaves the repository (to %s): remove it, or bump another path", p.shown(next), target)
		}
		if followed++; followed > linkLimit {
			return "", fmt.Errorf("%s is a symbolic link that leads in a circle: remove it", p.shown(next))
		}
		at, todo = ".", append(strings.Split(to, "/"), todo[1:]...)
	}
	return at, nil
}

// scan reads every own file once, in parallel, and keeps those that may hold the image.
func (p *planner) scan(ctx context.Context) error {
	return p.each(ctx, p.own, func(name string, content []byte) error {
		if bytes.HasPrefix(content, lfsPointer) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.unread = append(p.unread, Unverified{p.shown(name), "is a Git LFS pointer, so its content is not in git: keep manifests out of LFS (`git lfs untrack`)"})
			return nil
		}
		holds := edit.MayHold(content, p.traces)
		names := bytes.Contains(content, []byte("alueFiles")) || bytes.Contains(content, []byte("aluesFile")) || bytes.Contains(content, []byte("ApplicationSet"))
		if !holds && !names && !mayHoldTag(content) {
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if names {
			p.naming = append(p.naming, name)
		}
		if holds {
			p.held = append(p.held, held{name, bytes.Clone(content)})
		} else {
			p.tagged = append(p.tagged, name)
		}
		return nil
	})
}

// each calls visit with the content of each file, from several goroutines; the content is theirs only for the call.
func (p *planner) each(ctx context.Context, names []string, visit func(name string, content []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	next := make(chan string)
	g.Go(func() error {
		defer close(next)
		for _, name := range names {
			select {
			case next <- name:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			var buffer bytes.Buffer
			for name := range next {
				buffer.Reset()
				if err := p.read(name, &buffer); err != nil {
					return err
				}
				if err := visit(name, buffer.Bytes()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *planner) read(name string, into *bytes.Buffer) error {
	f, err := p.fsys.Open(name)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", p.shown(name), pathReason(err))
	}
	defer f.Close()
	if _, err := io.Copy(into, f); err != nil {
		return fmt.Errorf("cannot read %s: %w", p.shown(name), pathReason(err))
	}
	return nil
}
