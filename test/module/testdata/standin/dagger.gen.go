package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// dag is the session that the environment names. Dagger generates it too.
var dag *dagger.Client

// main stands in for what Dagger generates to serve calls: it calls one function with what `dagger call` would give it,
// and prints what that returns.
func main() {
	var list = func(name string) *string { return flag.String(name, "", "NAME=VALUE, separated by spaces") }
	source, config := flag.String("source", "", ""), flag.String("config", "", "")
	variables, buildArgs := list("variables"), list("build-args")
	image, output, repository := flag.String("image", "", ""), flag.String("output", "", ""), flag.String("repository", "", "")
	flag.Parse()
	result, err := call(flag.Arg(0), *source, *config, strings.Fields(*variables), strings.Fields(*buildArgs), *image, *output, *repository)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(result)
}

func call(function, source, config string, variables, buildArgs []string, image, output, repository string) (string, error) {
	ctx := context.Background()
	var err error
	if dag, err = sdk.Connect(ctx); err != nil {
		return "", err
	}
	defer dag.Close()
	m := New(dag.Host().Directory(source), dag.Host().File(config), variables, buildArgs)
	var tarball *dagger.File
	if image != "" {
		tarball = dag.Host().File(image)
	}
	switch function {
	case "build":
		built, err := m.Build(ctx)
		if err != nil {
			return "", err
		}
		return built.AsTarball().Export(ctx, output)
	case "build-with-secret":
		with, err := m.WithBuildSecret(ctx, "token", dag.SetSecret("given", "s3cr3t"))
		if err != nil {
			return "", err
		}
		built, err := with.Build(ctx)
		if err != nil {
			return "", err
		}
		return built.File("/sum").Contents(ctx)
	case "test":
		return m.Test(ctx, tarball, false)
	case "test-reports":
		reports, err := m.TestReports(ctx, tarball, false)
		if err != nil {
			return "", err
		}
		return reports.Export(ctx, output)
	case "publish":
		return m.Publish(ctx, repository, []string{"v1"}, tarball, "", nil, nil)
	default:
		return "", fmt.Errorf("no function %q", function)
	}
}
