package dev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// Session is what the deliveries of a work tree know of those before them. Each of them is a Delivery of its own, of what
// the files say by then, whose request is for a work tree.
type Session struct {
	namespace string // "" until it is known
	dir       string // for the tarballs of images
	env       *delivery.Environment
	user      string
	own       *cluster.Own

	built built
	next  string     // the tarball of the newest candidate
	ready *Candidate // the one that Bring has not begun with; nil if there is none
	tests sync.WaitGroup
	life  context.Context // of what runs in the background
	close context.CancelFunc

	mu       sync.Mutex
	passed   map[string]bool // suites that passed, with what they tested
	refused  string          // the state of the files that failed last; "" when none did
	bringing string          // the tarball of the candidate that is being brought
	running  string          // what was deployed last, as candidates name it
	ran      bool            // a deploy succeeded
}

// built is the newest image.
type built struct {
	source    string // its name in build.Sources
	tarball   string
	published ref.Ref // zero until it is
}

// Open opens a delivery of the files as they are now, and returns what ends it.
type Open func(context.Context) (*flow.Delivery, func(), error)

// Candidate is a state of the files that was built, and that does not run yet. Its unit tests may still run.
type Candidate struct {
	name    string
	state   string // of the files
	release delivery.Release
	options target.Options
	sources build.Sources
	tarball string
	open    Open
	unit    *testRun
}

// testRun is a suite that runs in the background.
type testRun struct {
	done   chan struct{} // closed when it has ended
	err    error         // then
	cancel context.CancelCauseFunc
	detach func() bool // from the context that it began in
}

// end ends the suite with a reason, if it still runs, and waits until it has ended.
func (r *testRun) end(why error) {
	r.cancel(why)
	<-r.done
}

// wait waits until the suite has ended, and ends it when ctx does. A newer save that changed what is tested is no failure: that
// one runs the suite again.
func (r *testRun) wait(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { r.cancel(context.Cause(ctx)) })()
	<-r.done
	if errors.Is(r.err, errMoved) {
		return nil
	}
	return r.err
}

// NewSession returns a session for a namespace of a developer's own; "" means APP-dev-USER on the local platform. Close is to
// be called.
func NewSession(namespace string) (*Session, error) {
	dir, err := os.MkdirTemp("", "aksflow-dev-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the image: %w", err)
	}
	s := &Session{namespace: namespace, dir: dir, passed: map[string]bool{}}
	s.life, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Close ends what still runs, and removes what is left on this machine.
func (s *Session) Close() error {
	s.close()
	s.tests.Wait()
	return os.RemoveAll(s.dir)
}

// begin connects to the cluster of the environment.
func (s *Session) begin(ctx context.Context, r delivery.Release) error {
	if s.namespace == "" {
		if r.Env.Local == nil {
			return fault.Usagef("the environment %s is on a cluster that others use: name a namespace of your own there with --namespace", r.Env.Name)
		}
		s.namespace = Namespace(r.Env.App, r.User)
	}
	if s.namespace == r.Env.Namespace || slices.Contains(r.Env.Namespaces, s.namespace) {
		return fault.Usagef("--namespace %s is one that the environment %s itself is in: name another", s.namespace, r.Env.Name)
	}
	own, err := cluster.OpenOwn(ctx, r.Env, s.namespace)
	if err != nil {
		return err
	}
	s.own, s.env, s.user = own, r.Env, r.User
	return nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace is a developer's own for an app: APP-dev-USER, as far as a namespace may be called so. user is USER@HOST.
func Namespace(app, user string) string {
	user, _, _ = strings.Cut(user, "@")
	user = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(user), "-"), "-")
	name := app + "-dev-" + cmp.Or(user, "me")
	return strings.TrimRight(name[:min(len(name), 63)], "-")
}

// Tag is the tag of the newest image of the namespace, which moves with each: an image without a tag may be deleted.
func (s *Session) Tag() string { return "dev-" + s.namespace }

// due returns what has to be done for a state of the files before it can be deployed.
func (s *Session) due(of build.Sources) []flow.Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []flow.Part
	if of.Image != s.built.source {
		parts = append(parts, flow.Build)
	}
	if of.Unit != "" && !s.passed[unitOf(of)] {
		parts = append(parts, flow.Unit)
	}
	if of.Integration != "" && !s.passed[integrationOf(of)] {
		parts = append(parts, flow.Integration)
	}
	if of.Image != s.built.source || s.built.published.Repository == "" {
		parts = append(parts, flow.Publish)
	}
	return parts
}

// unitOf and integrationOf name a suite with what it tests.
func unitOf(of build.Sources) string { return string(flow.Unit) + " " + of.Unit }
func integrationOf(of build.Sources) string {
	return string(flow.Integration) + " " + of.Integration + " " + of.Image
}

// errMoved says that what was built is no state that the files had as a whole.
var errMoved = errors.New("files changed while they were read: save again")

// Prepare builds and publishes what the files bring that was not there before, beside the unit tests, which may go on when it
// returns. It returns nil when that runs already. The integration tests are left to Bring, where there is something to bring.
// changed are the files of a save; nil means any.
func (s *Session) Prepare(ctx context.Context, open Open, changed []string) (*Candidate, error) {
	d, done, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	release, err := d.Trial()
	if err != nil {
		return nil, err
	}
	described, err := s.own.Fingerprint(ctx, release, d.Options)
	if err != nil {
		return nil, err
	}
	sources, err := d.Sources(ctx)
	if err != nil {
		return nil, err
	}
	state := strings.Join([]string{sources.Image, sources.Unit, sources.Integration, described}, " ")
	if s.refuses(state) && !concerns(d, changed, sources) {
		return nil, nil
	}
	s.refuse(state)
	unit, err := s.make(ctx, d, open, sources)
	if err != nil {
		return nil, err
	}
	release.Image, release.Published = s.built.published, true
	c := &Candidate{state: state, release: release, options: d.Options, sources: sources, tarball: s.built.tarball, open: open, unit: unit}
	c.name = release.Image.String() + " " + described
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running == c.name {
		if err = unit.wait(ctx); err == nil {
			err = s.integrate(ctx, c)
		}
		c = nil
	} else {
		unit.detach()
		s.replaceReady(c)
	}
	if err == nil {
		s.refuse("")
	}
	return c, err
}

// replaceReady notes the newest candidate. The one before is not brought any more, unless Bring has begun with it.
func (s *Session) replaceReady(c *Candidate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready != nil {
		s.ready.unit.cancel(ErrNewer)
	}
	s.next, s.ready = c.tarball, c
}

// refuse remembers that a state of the files failed; "" that none did. A save that changes nothing of it does not try it again.
func (s *Session) refuse(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = state
}

func (s *Session) refuses(state string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused == state
}

// make makes what is due for a state of the files, the integration tests aside. The unit tests need no image, and run at the
// same time in a delivery of their own. They may still run when the image is made: they end with ctx unless they are detached
// from it. A failure of one ends the other.
func (s *Session) make(ctx context.Context, d *flow.Delivery, open Open, of build.Sources) (unit *testRun, err error) {
	due := slices.DeleteFunc(s.due(of), func(p flow.Part) bool { return p == flow.Integration })
	image := slices.DeleteFunc(slices.Clone(due), func(p flow.Part) bool { return p == flow.Unit })
	making, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	unit = s.start(ctx, func(ctx context.Context) error {
		if len(image) == len(due) {
			return nil
		}
		err := s.test(ctx, open, of, flow.Unit, "")
		if err != nil {
			fail(errRedUnit)
		}
		return err
	})
	if len(image) > 0 {
		err = s.image(making, d, of, image)
	}
	if errors.Is(context.Cause(making), errRedUnit) {
		<-unit.done
		return nil, unit.err
	}
	if err != nil {
		unit.end(errNoImage)
		return nil, err
	}
	return unit, nil
}

// errRedUnit ends the making of an image whose unit tests fail, and errNoImage the unit tests of an image that cannot be made.
var (
	errRedUnit = errors.New("its unit tests fail")
	errNoImage = errors.New("its image cannot be made")
)

// start runs a suite in the background, until it ends, ctx does, or the session is closed.
func (s *Session) start(ctx context.Context, suite func(context.Context) error) *testRun {
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &testRun{done: make(chan struct{}), cancel: cancel}
	r.detach = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	closed := context.AfterFunc(s.life, func() { cancel(context.Canceled) })
	s.tests.Go(func() {
		defer close(r.done)
		defer closed()
		r.err = suite(run)
		cancel(nil)
	})
	return r
}

// image makes the image of a state of the files.
func (s *Session) image(ctx context.Context, d *flow.Delivery, of build.Sources, due []flow.Part) error {
	tarball := s.built.tarball
	if slices.Contains(due, flow.Build) {
		file, err := os.CreateTemp(s.dir, "image-*.tar")
		if err != nil {
			return fmt.Errorf("making a file for the image: %w", err)
		}
		if err := file.Close(); err != nil {
			return err
		}
		tarball = file.Name()
	}
	d.Tags = []string{s.Tag()}
	result, failed := d.Make(ctx, tarball, due...)
	if err := whole(ctx, d, of, func(s build.Sources) string { return s.Image }); err != nil || result == nil {
		return cmp.Or(failed, err)
	}
	for _, step := range result.Steps {
		switch detail := step.Detail.(type) {
		case *delivery.Built:
			s.built = built{source: of.Image, tarball: tarball}
			s.tidy()
		case *delivery.Published:
			s.built.published = ref.Read(detail.Image)
		}
	}
	return failed
}

// tidy removes the tarballs of images that are not needed any more. Close tries again what fails.
func (s *Session) tidy() {
	s.mu.Lock()
	needed := []string{s.built.tarball, s.next, s.bringing}
	s.mu.Unlock()
	names, _ := filepath.Glob(filepath.Join(s.dir, "image-*.tar")) // the pattern is well-formed
	for _, name := range names {
		if !slices.Contains(needed, name) {
			_ = os.Remove(name)
		}
	}
}

// test runs a suite on a state of the files.
func (s *Session) test(ctx context.Context, open Open, of build.Sources, suite flow.Part, tarball string) error {
	d, done, err := open(ctx)
	if err != nil {
		return err
	}
	defer done()
	result, failed := d.Make(ctx, tarball, suite)
	own := func(s build.Sources) string { return s.Unit }
	if suite == flow.Integration { // the image under test is a file of the session's own
		own = func(s build.Sources) string { return s.Integration }
	}
	if err := whole(ctx, d, of, own); err != nil || result == nil {
		return cmp.Or(failed, err)
	}
	s.note(of, suite, result)
	return failed
}

// integrate runs the integration tests of a candidate, unless they passed.
func (s *Session) integrate(ctx context.Context, c *Candidate) error {
	s.mu.Lock()
	passed := c.sources.Integration == "" || s.passed[integrationOf(c.sources)]
	s.mu.Unlock()
	if passed {
		return nil
	}
	return s.test(ctx, c.open, c.sources, flow.Integration, c.tarball)
}

// whole returns an error unless a part of the sources is still what it was: what was read of the files is then known by its name.
func whole(ctx context.Context, d *flow.Delivery, of build.Sources, part func(build.Sources) string) error {
	now, err := d.Sources(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case part(now) != part(of):
		return errMoved
	}
	return nil
}

// note remembers that a suite passed.
func (s *Session) note(of build.Sources, suite flow.Part, result *flow.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, step := range result.Steps {
		if tested, ok := step.Detail.(*delivery.Tested); !ok || !passed(tested, suite) {
			continue
		}
		if suite == flow.Unit {
			s.passed[unitOf(of)] = true
		} else {
			s.passed[integrationOf(of)] = true
		}
	}
}

// passed reports whether all tests of a suite passed, and there were some.
func passed(tested *delivery.Tested, suite flow.Part) bool {
	of := slices.DeleteFunc(slices.Clone(tested.Tests), func(t delivery.Test) bool { return t.Suite != string(suite) })
	return len(of) > 0 && !slices.ContainsFunc(of, func(t delivery.Test) bool {
		return t.Status == string(build.Failed) || t.Status == string(build.Error)
	})
}

// concerns reports whether one of the files that changed is part of the image or of its tests, or may describe how they run.
func concerns(d *flow.Delivery, changed []string, of build.Sources) bool {
	root, dockerfile, err := d.Context()
	return changed == nil || err != nil || slices.ContainsFunc(changed, func(name string) bool {
		rel, inside := flow.Below(name, root)
		return inside && (rel == filepath.ToSlash(dockerfile) || of.Files[rel]) ||
			slices.Contains([]string{".yaml", ".yml", ".json", ".tpl"}, filepath.Ext(name))
	})
}

// Bring deploys a candidate to the namespace, beside its unit tests if they still run. Nothing that could be put back is there
// before the first deploy, so that one waits for them. The integration tests run when the candidate answers: until then, they
// would only slow its start. If tests fail, what ran before is put back. answered is called when a pod of it answers for the
// first time; the page is nil where no Service is in front of a Deployment.
func (s *Session) Bring(ctx context.Context, c *Candidate, answered func(*cluster.Page)) error {
	s.mu.Lock()
	s.bringing, s.ready = c.tarball, nil
	before := s.ran
	s.mu.Unlock()
	if !before {
		if err := c.unit.wait(ctx); err != nil {
			s.refuse(c.state)
			return err
		}
	}
	deploying, undo := context.WithCancelCause(ctx)
	defer undo(nil)
	tests, testing := errgroup.WithContext(ctx)
	judge := func(err error) error {
		if err != nil && before {
			undo(errRed)
		}
		return err
	}
	tests.Go(func() error { return judge(c.unit.wait(testing)) })
	err := s.deploy(deploying, c, func(page *cluster.Page) {
		answered(page)
		tests.Go(func() error {
			err := s.integrate(testing, c)
			if errors.Is(err, errMoved) {
				return nil // a newer save changed these tests, and runs them
			}
			return judge(err)
		})
	})
	red := tests.Wait()
	if red != nil && before && err == nil && ctx.Err() == nil {
		red = errors.Join(red, s.own.Back(ctx, s.env, s.user))
		s.mu.Lock()
		s.running = ""
		s.mu.Unlock()
	}
	if red != nil && (err == nil || errors.Is(context.Cause(deploying), errRed)) {
		err = red
	}
	if err != nil {
		s.refuse(c.state)
	}
	return err
}

var errRed = errors.New("its tests fail")

// deploy applies a candidate and waits for its pods.
func (s *Session) deploy(ctx context.Context, c *Candidate, answered func(*cluster.Page)) error {
	step, end := report.Start(ctx, "deploy")
	out, err := s.own.Deploy(step, c.release, c.options, answered)
	end(out.Summary, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running = c.name; err != nil {
		s.running = "" // whether what ran before is back is for the next deploy to find out
	}
	s.ran = s.ran || err == nil
	return err
}

// runs reports whether a deploy of the session has succeeded.
func (s *Session) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran
}

// Remove takes the app away from the namespace again, and the namespace where the session made it.
func (s *Session) Remove(ctx context.Context) error {
	ctx, end := report.Start(ctx, "clean up")
	err := s.own.Remove(ctx, s.env, s.user)
	summary := "nothing is left of the namespace " + s.namespace
	if !s.own.Made() {
		summary = "the app is deleted in the namespace " + s.namespace + ", which was there before and stays; its pods end now, and claims of volumes stay"
	}
	end(summary, err)
	return err
}
