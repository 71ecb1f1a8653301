package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// dag is the session that the environment names. Dagger generates it too.
var dag *dagger.Client

// call is what `dagger call` would have on its command line: a function, its arguments and the constructor's.
type call struct {
	Function                string
	Source, Config          string // on this machine
	Variables, BuildArgs    []string
	Commit                  string
	Image, Repository       string
	SecretName, SecretValue string
	TestSecret, SSHAgent    string // the value of TOKEN for the tests; the socket of an SSH agent
	Output                  string // where a file or directory that the function returns is exported to
}

// main stands in for what Dagger generates to serve calls: it reads one from standard input, makes it and prints what it
// returns.
func main() {
	var c call
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil {
		err = c.make(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c call) make(ctx context.Context) (err error) {
	if dag, err = sdk.Connect(ctx); err != nil {
		return err
	}
	defer dag.Close()
	m := New(dag.Host().Directory(c.Source), dag.Host().File(c.Config), c.Variables, c.BuildArgs, c.Commit, "")
	if c.SecretName != "" {
		if m, err = m.WithBuildSecret(ctx, c.SecretName, dag.SetSecret("given", c.SecretValue)); err != nil {
			return err
		}
	}
	if c.TestSecret != "" {
		m = m.WithTestSecret("TOKEN", dag.SetSecret("test", c.TestSecret))
	}
	if c.SSHAgent != "" {
		m = m.WithSshAgent(dag.Host().UnixSocket(c.SSHAgent))
	}
	var image *dagger.File
	if c.Image != "" {
		image = dag.Host().File(c.Image)
	}
	var text string
	switch c.Function {
	case "build":
		var built *dagger.Container
		if built, err = m.Build(ctx); err == nil {
			text, err = built.AsTarball().Export(ctx, c.Output)
		}
	case "test":
		text, err = m.Test(ctx, image, false)
	case "test-reports":
		var reports *dagger.Directory
		if reports, err = m.TestReports(ctx, image, false); err == nil {
			text, err = reports.Export(ctx, c.Output)
		}
	case "publish":
		text, err = m.Publish(ctx, c.Repository, []string{"v1"}, image, "", nil, nil)
	default:
		err = fmt.Errorf("no function %q", c.Function)
	}
	if err == nil {
		fmt.Println(text)
	}
	return err
}
