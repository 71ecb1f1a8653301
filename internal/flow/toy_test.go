package flow

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/flow/resolve"
	"github.com/aksflow/aksflow/internal/target"
)

// ship is a whole target: it writes what it gets into a log. It stands for a package internal/target/ship.
type ship struct{ log *[]string }

func (s ship) note(words ...string) { *s.log = append(*s.log, strings.Join(words, " ")) }

func (s ship) Steps(r delivery.Release, _ target.Options) ([]delivery.Step, error) {
	return []delivery.Step{{Name: "load", About: r.Env.Repository, Changes: true, Run: func(_ context.Context, state *delivery.State) (delivery.Outcome, error) {
		s.note("load", state.Release.Image.String(), "for", state.Release.User)
		return delivery.Outcome{Summary: "all aboard"}, nil
	}}}, nil
}

func (s ship) Current(context.Context, *delivery.Environment) (target.Running, error) {
	return target.Running{}, nil
}

func (s ship) Health(context.Context, *delivery.Environment, target.Running) (target.Health, error) {
	return target.Health{}, nil
}

func (s ship) Diff(context.Context, delivery.Release, target.Options) (delivery.Outcome, error) {
	return delivery.Outcome{Detail: &delivery.Difference{}}, nil
}

func (s ship) Rollback(_ context.Context, r delivery.Release, to string, _ target.Options) (delivery.Outcome, error) {
	s.note("turn back", r.Env.Name, "to", to)
	return delivery.Outcome{}, errors.New("the sea is rough")
}

func (s ship) History(context.Context, *delivery.Environment) ([]delivery.Revision, error) {
	return []delivery.Revision{{Number: 1}}, nil
}

// A target that nothing outside of its own package knows works in every verb.
func TestANewTargetWorksInEveryVerb(t *testing.T) {
	var log []string
	r := Request{
		Config: newRepository(t).dir + "/aksflow.yaml", Env: "dev", User: "ann@laptop",
		Set:   resolve.Settings{Target: "ship"},
		Image: "registry.example/vote@sha256:" + strings.Repeat("0", 64),
	}
	d, err := open(t.Context(), r, []namedTarget{{"push", fake{}}, {"ship", ship{&log}}})
	require.NoError(t, err)

	p, err := d.Plan(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"build", "test", "publish", "load registry.example/vote"}, p.Steps)
	assert.Equal(t, "ship", p.Target)

	result, err := d.Step(t.Context(), "load")
	require.NoError(t, err)
	assert.True(t, result.Delivered && result.Changed)
	assert.Equal(t, "all aboard", result.Steps[0].Message)

	_, err = d.Rollback(t.Context(), "7")
	require.EqualError(t, err, "the sea is rough")
	history, err := d.History(t.Context())
	require.NoError(t, err)
	assert.Len(t, history.Revisions, 1)
	_, err = d.Diff(t.Context())
	require.NoError(t, err)
	_, err = d.Resume(t.Context())
	require.EqualError(t, err, "the environment dev is delivered by ship, which has no resume")
	require.NoError(t, d.Prepare(t.Context()))
	assert.Equal(t, []string{"load " + r.Image + " for ann@laptop", "turn back dev to 7"}, log)

	r.Set.Target = "sheep"
	_, err = open(t.Context(), r, d.targets)
	assert.EqualError(t, err, `--target "sheep": want push or ship`)
}

// These are the files that a new target touches outside of its own package: its section and its name in aksflow.yaml, its
// line in the list, and what init proposes. Nothing else may ask which target it is.
var namesTargets = []string{"internal/core/config/config.go", "internal/flow/targets.go"}

func TestNothingElseAsksWhichTargetItIs(t *testing.T) {
	var found []string
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil && asksForTarget(file) {
			found = append(found, filepath.ToSlash(name))
		}
		return err
	})
	require.NoError(t, err)
	for _, name := range found {
		assert.Contains(t, namesTargets, name, "a new target would have to be added there")
	}
	for _, name := range namesTargets {
		assert.Contains(t, found, name, "the list names a file that knows no target")
	}
}

// asksForTarget reports whether a file names a target: config.Push, config.Pull, or in package config itself the
// constants; or compares with their values.
func asksForTarget(file *ast.File) bool {
	asks := false
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			asks = asks || ok && pkg.Name == "config" && (n.Sel.Name == "Push" || n.Sel.Name == "Pull")
		case *ast.Ident:
			asks = asks || file.Name.Name == "config" && (n.Name == "Push" || n.Name == "Pull")
		case *ast.BinaryExpr:
			asks = asks || isTargetName(n.X) || isTargetName(n.Y)
		case *ast.CaseClause:
			asks = asks || slices.ContainsFunc(n.List, isTargetName)
		}
		return true
	})
	return asks
}

func isTargetName(e ast.Expr) bool {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return false
	}
	value, err := strconv.Unquote(literal.Value)
	return err == nil && slices.Contains(config.Targets(), value)
}
