// Package cli is the aksflow command line. Each verb is one file: flags become a request to package flow, and its result
// becomes text, one JSON document, and what a CI system takes from a step. This is the only package that reads the
// process's environment for a delivery.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/aksflow/aksflow/internal/cli/bash"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/page"
)

// globals are the flags that every verb has.
type globals struct {
	config  string
	state   string
	engine  string
	output  string
	result  string // a file for the JSON document
	verbose bool
	timeout time.Duration
	network dial.Network

	version string
	stdout  io.Writer
	stderr  *os.File
	github  *report.GitHub // the log of a GitHub Actions step; nil elsewhere
	live    bool           // stderr is a terminal that showed the steps as they came

	began    time.Time
	recorder *report.Recorder // the events of this run
	page     *page.Run        // what became of it; nil for verbs without a delivery
	started  bool             // a verb's own code was reached
	printed  bool             // the result was written
}

// Execute runs the command line and returns the exit code: fault.ExitCode's, with 130 when a signal ended the run.
func Execute(args []string, version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the run in order. From then on a second one kills at once.
	context.AfterFunc(ctx, stop)

	g := &globals{version: version, stdout: os.Stdout, stderr: os.Stderr}
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		g.github = report.NewGitHub(g.stderr, os.Getenv("GITHUB_WORKSPACE"))
	}
	return g.execute(ctx, args)
}

func (g *globals) execute(ctx context.Context, args []string) int {
	root := newRoot(g)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !g.started {
		err = fault.Usage(err) // cobra's own: an unknown verb, flags that exclude each other
	}
	var program programEnded
	if err != nil && !errors.Is(err, errDiffers) && !errors.As(err, &program) {
		g.printError(err)
	}
	code := exitCode(ctx, err)
	if err != nil && !g.printed {
		if wantsJSON(args) {
			g.output = "json"
		}
		if printErr := g.print(nil, err, code); printErr != nil {
			g.printError(printErr)
		}
	}
	return code
}

// exitCode is that of the program which run started, else fault.ExitCode's, with 130 when a signal ended the run.
func exitCode(ctx context.Context, err error) int {
	var program programEnded
	if errors.As(err, &program) {
		return program.code
	}
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return fault.ExitInterrupted
	}
	return fault.ExitCode(err)
}

// wantsJSON reports whether the arguments ask for JSON, also where they could not be parsed.
func wantsJSON(args []string) bool {
	i := slices.Index(args, "--output")
	return slices.Contains(args, "--output=json") || i >= 0 && i+1 < len(args) && args[i+1] == "json"
}

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "aksflow",
		Short: "Deliver an application to Azure Kubernetes Service: build, test, publish, deploy",
		Long: `aksflow delivers an application to Azure Kubernetes Service (AKS) from one set of functions that behave the same on a
laptop and in CI: it builds the image, tests those very bytes, pushes them, and rolls them out, either by applying the
manifests (push) or by writing the digest to git for Argo CD or Flux (pull).`,
		Version:       g.version,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.findConfig(cmd)
			if g.output != "text" && g.output != "json" {
				return fault.Usagef("--output %q: want text or json", g.output)
			}
			return nil
		},
	}
	root.SetOut(g.stdout)
	f := root.PersistentFlags()
	f.StringVarP(&g.config, "config", "c", defaultConfig, "what to deliver and where to; without the flag also in the directories above, up to the top of the git repository")
	f.StringVar(&g.state, "state", "", "folder for the engine's cache and the local platform (default $AKSFLOW_STATE, else ~/.local/state/aksflow)")
	f.StringVar(&g.engine, "engine", "", "what runs the containers: auto, dagger or embedded (default $AKSFLOW_ENGINE, else auto)")
	f.StringVar(&g.output, "output", "text", "what stdout gets: text, or json (one document)")
	f.StringVar(&g.result, "result", "", "also write the JSON document into this `FILE`, beside the text on stdout")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "show the output of what runs in containers")
	f.DurationVar(&g.timeout, "timeout", 0,
		fmt.Sprintf("end the run after this long, such as 90s or 10m (default: each step ends after %s, a canary's pauses not counted)", report.Span(delivery.DefaultLimit)))
	f.Var(connectToFlag{&g.network}, "connect-to",
		"reach the registry, git host, API server or Argo CD at HOST:PORT by connecting to ENDPOINT, another HOST:PORT; names and TLS checks stay (may be repeated)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.Usagef("%w\nSee %s --help", err, cmd.CommandPath())
	})
	cobra.EnableCommandSorting = false // the order of a delivery says more than the alphabet

	root.AddGroup(
		&cobra.Group{ID: "pipeline", Title: "The pipeline, step by step and as a whole:"},
		&cobra.Group{ID: "machine", Title: "This machine:"},
	)
	for _, c := range pipelineCommands(g) {
		c.GroupID = "pipeline"
		root.AddCommand(c)
	}
	for _, c := range machineCommands(g) {
		c.GroupID = "machine"
		root.AddCommand(c)
	}
	root.SetCompletionCommandGroupID("machine")
	root.SetHelpCommandGroupID("machine")
	root.InitDefaultCompletionCmd()
	bash.CompleteAlone(root)
	g.completeFlags(root)
	return root
}

// exactly is cobra's ExactArgs, as a usage error.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return fault.Usagef("%w\nSee %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

// run wraps a verb: its events are shown as they come, and its result is printed at the end, also beside an error where
// there is one.
func (g *globals) run(verb func(ctx context.Context, cmd *cobra.Command, args []string) (result, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		g.started = true
		ctx := cmd.Context()
		if g.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, g.timeout, delivery.LimitError(fmt.Sprintf("--timeout %s is over", report.Span(g.timeout))))
			defer cancel()
		}
		sink, closeSink := g.sink()
		g.began, g.recorder = time.Now(), report.NewRecorder(sink)
		ctx = report.With(ctx, g.recorder)
		res, err := verb(ctx, cmd, args)
		g.writeCI(ctx, res)
		closeSink()
		if printErr := g.print(res, err, exitCode(cmd.Context(), err)); err == nil && printErr != nil {
			err = fmt.Errorf("writing the result: %w", printErr)
		}
		return err
	}
}

func (g *globals) sink() (report.Sink, func()) {
	switch {
	case g.github != nil:
		return g.github, func() {}
	case isatty.IsTerminal(g.stderr.Fd()) && os.Getenv("TERM") != "dumb":
		g.live = true
		t := report.NewTerminal(g.stderr, g.verbose, g.size)
		return t, func() { _ = t.Close() }
	default:
		return report.NewPlain(g.stderr, g.verbose), func() {}
	}
}

// size is that of the terminal, in columns and lines.
func (g *globals) size() (width, height int) {
	if width, height, err := term.GetSize(int(g.stderr.Fd())); err == nil && width > 0 && height > 0 {
		return width, height
	}
	return 80, 24
}

func (g *globals) printError(err error) {
	message := report.Clean(strings.TrimRight(err.Error(), "\n"))
	if errors.Is(err, context.Canceled) {
		message = "interrupted: " + message
	}
	message = "aksflow: " + message
	if g.live {
		width, _ := g.size()
		message = report.Wrap(message, width-1)
	}
	fmt.Fprintln(g.stderr, message)
	if g.github != nil {
		g.github.Fail(err)
	}
}
