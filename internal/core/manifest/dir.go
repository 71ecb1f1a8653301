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

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Edit is what would change in a directory. Nothing has been written.
type Edit struct {
	Files   []File   // only those that change
	Changes []Change // by file and line
	Matched int      // references that the target names, those included that were right already
}

// File is one file of an Edit.
type File struct {
	Path    string // slash-separated, relative to the fs.FS
	Content []byte
}

// NoMatchError says that no reference in Path was meant by the target.
type NoMatchError struct {
	Path  string
	Names []string // what was looked for
	Seen  []Seen   // what is there instead
}

// Error names the images that were seen, once each.
func (e *NoMatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no image named %s in %s", strings.Join(e.Names, " or "), e.Path)
	if len(e.Seen) == 0 {
		b.WriteString(": there is no image reference in any manifest there")
		return b.String()
	}
	b.WriteString("; the images there are ")
	const most = 12
	listed := map[string]bool{}
	for _, s := range e.Seen {
		if listed[s.Image] {
			continue
		}
		if len(listed) == most {
			b.WriteString(", …")
			break
		}
		if len(listed) > 0 {
			b.WriteString(", ")
		}
		listed[s.Image] = true
		fmt.Fprintf(&b, "%s (%s:%d)", s.Image, s.File, s.Line)
	}
	b.WriteString(": name the one that is meant with --replace")
	return b.String()
}

// Plan reads the manifests under dir, a slash-separated directory or file in fsys, and says what to change so that they
// name the target's image. Where dir is a kustomization whose image stands in a base outside of dir, the image is pinned
// in its images:. Nothing outside dir is edited, and links are not written through. Plan fails when nothing matches
// ([NoMatchError]), and when a file that holds the image's name, or stands beside one, is not valid
// YAML.
//
// Files and Changes are relative to fsys. fsys should be an [fs.ReadLinkFS] if it has symbolic links.
func Plan(ctx context.Context, fsys fs.FS, dir string, target Target) (*Edit, error) {
	return plan(ctx, fsys, dir, target, func(name string) string { return name })
}

// plan is Plan with names for messages and changes.
func plan(ctx context.Context, fsys fs.FS, dir string, target Target, shown func(string) string) (*Edit, error) {
	p, err := newPlanner(ctx, fsys, dir, target, shown)
	if err != nil {
		return nil, err
	}
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
		r, err := set(h.path, p.shown(h.path), h.content, p.want, nil, nil)
		if err != nil {
			return nil, err
		}
		for _, s := range r.Seen {
			if s.Matched {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// newPlanner reads the manifests under dir and keeps those that may hold the image.
func newPlanner(ctx context.Context, fsys fs.FS, dir string, target Target, shown func(string) string) (*planner, error) {
	w, err := target.wanted()
	if err != nil {
		return nil, fault.Usage(err)
	}
	p := &planner{fsys: fsys, shown: shown, want: w, traces: w.traces()}
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
	slices.SortFunc(p.held, func(a, b held) int { return cmp.Compare(a.path, b.path) })
	return p, nil
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
	fsys   fs.FS
	dir    string
	shown  func(name string) string // a file's name for people
	want   wanted
	traces [][]byte

	own            []string          // files to edit, in order
	links          map[string]string // links in dir to files outside of it, and where they lead
	kustomizations []string          // those among own

	mu     sync.Mutex
	follow bool                  // some kustomization may take images from outside dir, or from its own patches
	held   []held                // files that may hold the image
	loaded map[string]*yaml.Node // kustomizations
	bases  map[string][]string   // the images that come out of a kustomization, or a file outside dir
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
		if isKustomization(p.dir) {
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
				return fs.SkipDir // text for Helm's template engine
			}
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			return p.link(name)
		case !d.Type().IsRegular() || !isManifest(name):
			return nil
		case base == "Chart.yaml":
			chartDirs[path.Dir(name)] = true // before templates in the order of the walk
		}
		p.own = append(p.own, name)
		if isKustomization(name) {
			p.kustomizations = append(p.kustomizations, name)
		}
		return nil
	})
}

// link looks at a symbolic link in dir. One that stays in dir needs nothing: what it leads to is walked.
func (p *planner) link(name string) error {
	if ext := path.Ext(name); ext != "" && !isManifest(name) {
		return nil
	}
	to, err := p.resolve(name)
	if err != nil {
		return err
	}
	if !p.inside(to) && isManifest(name) {
		p.links[name] = to
	}
	return nil
}

func (p *planner) inside(name string) bool {
	return p.dir == "." || name == p.dir || strings.HasPrefix(name, p.dir+"/")
}

// resolve follows links, and refuses those that leave the file system.
func (p *planner) resolve(name string) (string, error) {
	links, ok := p.fsys.(fs.ReadLinkFS)
	if !ok {
		return name, nil
	}
	at := name
	for range 40 {
		info, err := links.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) && at != name {
			return at, nil // a dangling link is for who reads through it
		}
		if err != nil {
			return "", fmt.Errorf("cannot read %s: %w", p.shown(at), pathReason(err))
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return at, nil
		}
		target, err := links.ReadLink(at)
		if err != nil {
			return "", fmt.Errorf("cannot read the link %s: %w", p.shown(at), pathReason(err))
		}
		next := path.Join(path.Dir(at), target)
		if path.IsAbs(target) || !fs.ValidPath(next) {
			return "", fmt.Errorf("%s is a symbolic link that leaves the repository (to %s): remove it, or bump another path", p.shown(name), target)
		}
		at = next
	}
	return "", fmt.Errorf("%s is a symbolic link that leads in a circle: remove it", p.shown(name))
}

// scan reads every own file once, in parallel, and keeps those that may hold the image.
func (p *planner) scan(ctx context.Context) error {
	return p.each(ctx, p.own, func(name string, content []byte) error {
		holds := mayHold(content, p.traces)
		follow := isKustomization(name) && (holds || len(p.links) > 0 || bytes.Contains(content, []byte("..")))
		if !holds && !follow {
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.follow = p.follow || follow
		if !holds {
			return nil
		}
		p.held = append(p.held, held{name, bytes.Clone(content)})
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

// finish edits the files that were kept and puts the Edit together.
func (p *planner) finish(ctx context.Context) (*Edit, error) {
	pins, err := p.pins()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(p.held, func(a, b held) int { return cmp.Compare(a.path, b.path) })
	governed, err := p.governed(pins)
	if err != nil {
		return nil, err
	}
	edit := &Edit{}
	for _, h := range p.held {
		r, err := set(h.path, p.shown(h.path), h.content, p.want, governed[h.path], pins[h.path])
		if err != nil {
			return nil, err
		}
		edit.Matched += r.Matched
		edit.Changes = append(edit.Changes, r.Changes...)
		if len(r.Changes) > 0 {
			edit.Files = append(edit.Files, File{h.path, r.Content})
		}
	}
	if edit.Matched == 0 {
		return nil, p.noMatch(ctx)
	}
	if err := p.checkNeighbours(ctx, edit); err != nil {
		return nil, err
	}
	return edit, nil
}

// checkNeighbours parses what stands beside the edited files, although the image is not in it: an operator that cannot
// read one file of a directory applies none of it. The rest of a large repository is other people's.
func (p *planner) checkNeighbours(ctx context.Context, edit *Edit) error {
	dirs, parsed := map[string]bool{}, map[string]bool{}
	for _, f := range edit.Files {
		dirs[path.Dir(f.Path)] = true
	}
	for _, h := range p.held {
		parsed[h.path] = true
	}
	var neighbours []string
	for _, name := range p.own {
		if dirs[path.Dir(name)] && !parsed[name] {
			neighbours = append(neighbours, name)
		}
	}
	return p.each(ctx, neighbours, func(name string, content []byte) error {
		_, err := parse(p.shown(name), content)
		return err
	})
}

// noMatch reads everything again to say what is there.
func (p *planner) noMatch(ctx context.Context) error {
	for name, to := range p.links {
		var content bytes.Buffer
		if err := p.read(to, &content); err != nil {
			continue
		}
		if r, err := set(to, p.shown(to), content.Bytes(), p.want, nil, nil); err == nil && r.Matched > 0 {
			return fmt.Errorf("the image stands in %s, to which %s is a link: bump %s", p.shown(to), p.shown(name), p.shown(path.Dir(to)))
		}
	}
	e := &NoMatchError{Path: p.shown(p.dir)}
	for _, name := range p.want.names {
		e.Names = append(e.Names, name.Repository)
	}
	e.Names = slices.Compact(e.Names)
	err := p.each(ctx, p.own, func(name string, content []byte) error {
		s, err := parse(p.shown(name), content)
		if err != nil {
			return nil // the image is not in it; that it does not parse is not what went wrong
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, doc := range s.docs {
			for _, site := range find(name, doc).sites {
				e.Seen = append(e.Seen, Seen{File: p.shown(name), Line: site.nodes()[0].Line, Image: site.image().String()})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range p.kustomizations {
		images, err := p.images(k, nil)
		if err != nil {
			return err
		}
		for _, image := range images {
			e.Seen = append(e.Seen, Seen{File: p.shown(k), Line: 1, Image: image})
		}
	}
	slices.SortFunc(e.Seen, func(a, b Seen) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return e
}
