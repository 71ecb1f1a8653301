package flow

import (
	"context"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/flow/resolve"
	"github.com/aksflow/aksflow/internal/flow/signing"
	"github.com/aksflow/aksflow/internal/target"
)

// Request is what a verb asks for. Everything that comes from outside is in it: flags, and functions that read the
// process's environment and connect to what runs on this machine.
type Request struct {
	// Config is the path of aksflow.yaml.
	Config string
	// Env names the environment of aksflow.yaml.
	Env string
	// ByRef takes, when Env is empty, the environment that the git ref maps to. Ref is that ref, full or a branch's name;
	// empty means what is checked out.
	ByRef bool
	Ref   string
	// Set replaces what aksflow.yaml says.
	Set resolve.Settings

	// Variables finds a variable of the process's environment.
	Variables config.Lookup
	// Local returns the local platform that runs, or an error that says how to start it.
	Local func() (*resolve.LocalPlatform, error)
	// Azure logs in to Azure's registries and clusters. Nil where nothing is to be reached there.
	Azure resolve.Azure
	// SigningKey finds a key in Azure Key Vault that signs proofs. Nil where there is none.
	SigningKey signing.Vault
	// Client connects to the engine that builds and tests. It is called when the first container work is due, and may be
	// called again.
	Client func(context.Context, delivery.Session) (*dagger.Client, error)
	// Layers is a directory that keeps layers of images from one build to the next; "" keeps none.
	Layers string

	// WorkTree delivers what is there, committed or not, as an image of no commit: nothing is looked up or recorded for its
	// source, it gets no proofs, and it is called by Tags only.
	WorkTree bool

	// Keys is a directory that keeps the hashes of files from one run to the next; "" keeps none.
	Keys string
	// Rebuild builds an image that the registry has again. Retest runs tests again that the image passed.
	Rebuild, Retest bool
	// Explain lists in a plan what went into the key of the image.
	Explain bool

	// ProvedByHand is why the image of the environment before counts as proved there, as a person says; "" asks its record.
	ProvedByHand string

	// Override is why closed gates of the environment are opened; "" opens none.
	Override string
	// SignAs signs approvals and overrides.
	SignAs signing.As

	// BuildArgs are added to those of aksflow.yaml, and win.
	BuildArgs map[string]string
	// Tarball is the file with the image: build writes it, test and publish read it.
	Tarball string
	// Made is what another program built and tested of this source with an engine of its own: the Dagger module. Nil where
	// this one does.
	Made *build.Made
	// Reports is the directory for the tests' JUnit XML; "" writes none.
	Reports string
	// Tags are what the pushed image is called, beside the tags of its commit and its git ref.
	Tags []string

	// Image is the reference to deploy, to write to git or to wait for.
	Image string
	// Commit is the one that the operator has to apply; "" means whatever the branch has.
	Commit string
	// Options are for the target.
	Options target.Options

	// Network is the way to all servers; the engine that builds has its own.
	Network dial.Network

	// RunURL is the page of the CI run, and User is who delivers: USER@HOST. Both are for records; both may be empty.
	RunURL, User string
}
