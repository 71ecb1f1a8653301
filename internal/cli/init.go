package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/adopt"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/doctor"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/git"
)

// initResult is the JSON document of `aksflow init`.
type initResult struct {
	Services []initService `json:"services"`
	Files    []adopt.File  `json:"files"`
	Notices  []string      `json:"notices"`
	Written  bool          `json:"written"`
	// Engine is what builds and tests them, and Checked are the services that were looked at after the files were written.
	Engine  []delivery.Check `json:"engine,omitempty"`
	Checked []initChecked    `json:"checked,omitempty"`
}

// initService is an image that was found.
type initService struct {
	Name       string   `json:"name"`
	Dockerfile string   `json:"dockerfile"`
	Stages     []string `json:"stages,omitempty"`
	Ports      []string `json:"ports,omitempty"`
	Manifests  string   `json:"manifests,omitempty"`
}

// initChecked is what doctor and plan say of a service.
type initChecked struct {
	Config string         `json:"config"`
	Plan   *flow.Plan     `json:"plan,omitempty"`
	Doctor *doctor.Result `json:"doctor"`
}

// Text writes what was found, and what plan and doctor say of it.
func (r *initResult) Text(w io.Writer) {
	var rows [][]string
	for _, s := range r.Services {
		rows = append(rows, []string{s.Name, s.Dockerfile, strings.Join(s.Ports, " "), cmp.Or(s.Manifests, "none: new ones")})
	}
	if len(rows) > 0 {
		report.Table(w, []string{"app", "dockerfile", "port", "manifests"}, rows)
	}
	if len(r.Checked) == 0 {
		return
	}
	fmt.Fprintln(w)
	(&doctor.Result{Parts: []doctor.Part{{Name: "engine", Checks: r.Engine}}}).Text(w, 0)
	if len(r.Checked) == 1 {
		c := r.Checked[0]
		fmt.Fprintf(w, "\n%s\n", c.Config)
		if c.Plan != nil {
			planResult{c.Plan}.Text(w)
		}
		c.Doctor.Text(w, 0)
		return
	}
	r.summary(w)
}

// summary writes a line for each service, and below them what is not as it should be.
func (r *initResult) summary(w io.Writer) {
	var rows [][]string
	var wrong []doctor.Part
	for _, c := range r.Checked {
		of := doctor.Part{Name: c.Config}
		ok := 0
		for _, p := range c.Doctor.Parts {
			for _, check := range p.Checks {
				if check.Status == delivery.CheckOK {
					ok++
				} else {
					of.Checks = append(of.Checks, check)
				}
			}
		}
		steps := ""
		if c.Plan != nil {
			steps = strings.TrimSpace(c.Plan.Environment + ": " + strings.Join(c.Plan.Steps, ", "))
		}
		rows = append(rows, []string{c.Config, fmt.Sprintf("%d of %d ok", ok, ok+len(of.Checks)), strings.TrimPrefix(steps, ": ")})
		if len(of.Checks) > 0 {
			wrong = append(wrong, of)
		}
	}
	fmt.Fprintln(w)
	report.Table(w, []string{"config", "checks", "deliver would"}, rows)
	if len(wrong) > 0 {
		fmt.Fprintln(w)
		(&doctor.Result{Parts: wrong}).Text(w, 0)
	}
}

func initCommand(g *globals) *cobra.Command {
	var o adopt.Options
	var yes bool
	cmd := &cobra.Command{
		Use:   "init [DIRECTORY]",
		Short: "Propose how a repository is delivered, and write aksflow.yaml",
		Long: `Looks for Dockerfiles with their stages and ports, Compose files, azure.yaml, skaffold.yaml, docker-bake.hcl,
kustomizations, charts, plain manifests, tests, branches and the remote, and proposes an aksflow.yaml for each image, manifests
where there are none, and the pipeline of a CI system. It shows all files and asks before it writes them; --yes writes without a
question. A file that is there is never replaced. Then it runs plan and doctor on what it wrote.`,
		Example: `  aksflow init
  aksflow init --registry myregistry.azurecr.io --ci github --yes
  aksflow init azure --repository OWNER/NAME`,
		Args: func(cmd *cobra.Command, args []string) error {
			return fault.Usage(cobra.MaximumNArgs(1)(cmd, args))
		},
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, args []string) (result, error) {
			dir := strings.Join(args, "")
			ask := !yes && isatty.IsTerminal(os.Stdin.Fd()) && g.output != "json"
			r, err := g.initialise(ctx, cmp.Or(dir, "."), o, ask, yes)
			if r == nil {
				return nil, err
			}
			return r, err
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.Registry, "registry", anyRegistry, "the registry's host")
	f.StringVar(&o.Target, "target", config.Targets()[0], strings.Join(config.Targets(), " or ")+": how environments are delivered to")
	f.StringVar(&o.CI, "ci", "", "also the pipeline of a CI system: "+strings.Join(adopt.Systems(), ", "))
	f.BoolVar(&o.DevContainer, "devcontainer", false, "also .devcontainer/devcontainer.json: aksflow, the local platform and the schema of aksflow.yaml in VS Code")
	f.StringVar(&o.Only, "app", "", "only the image of this name (default: all that are found)")
	f.BoolVarP(&yes, "yes", "y", false, "write the files without a question")
	cmd.AddCommand(initAzureCommand(g))
	return cmd
}

// anyRegistry stands for a registry that was not named.
const anyRegistry = "myregistry.azurecr.io"

// initialise proposes, shows, writes and checks.
func (g *globals) initialise(ctx context.Context, dir string, o adopt.Options, ask, yes bool) (*initResult, error) {
	if err := ref.CheckRegistry(o.Registry); err != nil {
		return nil, fault.Usagef("--registry: %w", err)
	}
	if !slices.Contains(config.Targets(), o.Target) {
		return nil, fault.Usagef("--target %q: want %s", o.Target, strings.Join(config.Targets(), " or "))
	}
	if ask {
		answers := bufio.NewReader(os.Stdin)
		o.Registry = g.askFor(answers, "Registry", o.Registry, ref.CheckRegistry)
		o.CI = g.askFor(answers, "Pipeline for "+strings.Join(adopt.Systems(), ", ")+", or "+adopt.None, cmp.Or(o.CI, adopt.None), adopt.CheckSystem)
	}
	if err := aboutRepository(dir, &o); err != nil {
		return nil, err
	}
	found, err := adopt.Find(dir)
	if err != nil {
		return nil, err
	}
	proposal, err := found.Propose(ctx, o)
	if err != nil {
		return nil, fault.Usage(err)
	}
	r := &initResult{Files: proposal.Files, Notices: append([]string{}, proposal.Notices...)}
	if hidden := ignoredFiles(dir, proposal.Files); len(hidden) > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("git ignores %[1]s, and what is not committed is not delivered from elsewhere: mend .gitignore, or `git add --force %[1]s`", strings.Join(hidden, " ")))
	}
	for _, s := range proposal.Services {
		one := initService{Name: s.Name, Dockerfile: path.Join(s.Context, s.Dockerfile), Ports: s.Ports}
		if len(s.Manifests) > 0 {
			one.Manifests = s.Manifests[0].Path
		}
		r.Services = append(r.Services, one)
	}
	g.showFiles(proposal.Files)
	for _, notice := range r.Notices { // below the files, where they are read before the question
		report.Warn(ctx, "%s", notice)
	}
	if !yes && (!ask || !confirm(os.Stdin, g.stderr, "Write these files?")) {
		report.Info(ctx, "nothing was written: --yes writes these files")
		return r, nil
	}
	if err := proposal.Write(dir); err != nil {
		return r, err
	}
	r.Written = true
	if o.Registry == anyRegistry && len(proposal.Configs) > 0 {
		report.Info(ctx, "%s stands for your registry, and is not asked: write yours into aksflow.yaml. The environment local needs none: `aksflow up`, then `aksflow deliver --env local`", anyRegistry)
	}
	g.check(ctx, dir, proposal.Configs, o.Registry == anyRegistry, r)
	return r, nil
}

// askFor asks for a value on the terminal until check has nothing against it. Enter takes the default.
func (g *globals) askFor(answers *bufio.Reader, what, otherwise string, check func(string) error) string {
	for {
		fmt.Fprintf(g.stderr, "%s [%s]: ", what, otherwise)
		answer, ended := answers.ReadString('\n')
		value := cmp.Or(strings.TrimSpace(answer), otherwise)
		err := check(value)
		if err == nil {
			return value
		}
		fmt.Fprintln(g.stderr, err)
		if ended != nil {
			return otherwise
		}
	}
}

// aboutRepository fills in the name, the branches and the remote of the repository that a directory is in.
func aboutRepository(dir string, o *adopt.Options) error {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	o.Name = filepath.Base(absolute)
	refs, err := git.Refs(dir)
	if err != nil {
		return err
	}
	for _, name := range refs {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			o.Branches = append(o.Branches, branch)
		}
	}
	if o.DefaultBranch, err = git.DefaultBranch(dir); err != nil {
		return err
	}
	remote, branches, err := git.Origin(dir)
	if err != nil {
		return err
	}
	o.Branches = append(o.Branches, branches...)
	o.Remote = cmp.Or(withoutPassword(remote), "https://git.example/team/deploy.git")
	if name := strings.TrimSuffix(path.Base(remote), ".git"); remote != "" && name != "repo" {
		o.Name = name
	}
	return nil
}

// withoutPassword is a URL without what logs in.
func withoutPassword(remote string) string {
	u, err := url.Parse(remote)
	if err != nil || u.Scheme != "https" {
		return remote
	}
	u.User = nil
	return u.String()
}

// showFiles writes the files as a diff that makes them.
func (g *globals) showFiles(files []adopt.File) {
	for _, f := range files {
		if f.Exists {
			fmt.Fprintf(g.stderr, "# %s is there already, and stays as it is\n", f.Path)
			continue
		}
		fmt.Fprintf(g.stderr, "--- /dev/null\n+++ b/%s\n", f.Path)
		for line := range strings.Lines(f.Content) {
			fmt.Fprint(g.stderr, "+"+line)
		}
	}
}

// ignoredFiles returns the new files that git would not commit.
func ignoredFiles(dir string, files []adopt.File) (names []string) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	ignored := git.Ignored(absolute)
	for _, f := range files {
		if !f.Exists && ignored(filepath.Join(absolute, filepath.FromSlash(f.Path)), false) {
			names = append(names, f.Path)
		}
	}
	return names
}

// checkLimit bounds how long all checks of init take, and checksAtOnce how many services are looked at beside each other.
const (
	checkLimit   = time.Minute
	checksAtOnce = 6
)

// check adds to the result what plan and doctor say of each service, and what doctor says of the engine.
func (g *globals) check(ctx context.Context, dir string, configs []string, offline bool, r *initResult) {
	ctx, end := report.Start(ctx, "check")
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, delivery.LimitError(fmt.Sprintf("no answer within %s", report.Span(checkLimit))))
	defer cancel()
	r.Checked = make([]initChecked, len(configs))
	var running errgroup.Group
	running.SetLimit(checksAtOnce)
	running.Go(func() error {
		r.Engine = engine.Check(ctx, engine.Options{Engine: g.engine, State: g.state, Env: os.Environ()})
		return nil
	})
	var done atomic.Int32
	quiet := report.With(ctx, report.SinkFunc(func(report.Event) {})) // what is wrong is in the checks
	for i, name := range configs {
		running.Go(func() error {
			r.Checked[i] = g.checkWritten(quiet, filepath.Join(dir, filepath.FromSlash(name)), offline)
			report.Progressf(ctx, "services", "%d of %d, %s", done.Add(1), len(configs), name)
			return nil
		})
	}
	_ = running.Wait() // none of them returns an error
	end(report.Count(len(configs), "service"), nil)
}

// checkWritten runs plan and doctor on an aksflow.yaml.
func (g *globals) checkWritten(ctx context.Context, file string, offline bool) initChecked {
	of := *g
	of.config = file
	r := &request{g: &of}
	r.ByRef = true
	checked := initChecked{Config: file}
	if d, done, err := r.open(ctx); err == nil {
		defer done()
		checked.Plan, _ = d.Plan(ctx) // what is wrong is for doctor to say
	}
	checked.Doctor = doctor.Run(ctx, doctor.Options{Request: r.Request, Offline: offline})
	return checked
}
