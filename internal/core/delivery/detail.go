package delivery

import (
	"time"

	"github.com/aksflow/aksflow/internal/core/manifest"
)

// Built is the JSON of build.
type Built struct {
	Tarball  string `json:"tarball,omitempty"`
	Digest   string `json:"digest,omitempty"` // of the image in Tarball, sha256:…
	Revision string `json:"revision,omitempty"`
	Source   Source `json:"source"`
	// Layers are those of the image in Tarball, the base's first.
	Layers []Layer `json:"layers,omitempty"`
	// Reused reports that the registry had the image of this source, so that nothing was built.
	Reused bool `json:"reused,omitempty"`
}

// Layer is one layer of an image.
type Layer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // compressed, in bytes
	// CreatedBy is the command that made it, as the image's history says.
	CreatedBy string `json:"createdBy,omitempty"`
}

// Reproduced is the JSON of build --check.
type Reproduced struct {
	Digests []string `json:"digests"` // of the two images
	Same    bool     `json:"same"`
	// Instructions are those that made something else the second time.
	Instructions []Irreproducible `json:"instructions,omitempty"`
}

// Irreproducible is an instruction of a Dockerfile that made something else the second time.
type Irreproducible struct {
	Place       string          `json:"place"` // Dockerfile:3
	Instruction string          `json:"instruction"`
	Files       []DifferentFile `json:"files"`
}

// DifferentFile is a file that is not the same in two images.
type DifferentFile struct {
	Path   string `json:"path"`
	What   string `json:"what"`             // how it differs
	Remedy string `json:"remedy,omitempty"` // how the Dockerfile can make it the same
}

// Tested is the JSON of test.
type Tested struct {
	Summary string   `json:"summary"`
	Tests   []Test   `json:"tests"`
	Reports []string `json:"reports"` // paths of the JUnit XML files
	// Reused reports that the image passed these tests in an earlier run, on the page RunURL, so that none ran.
	Reused bool   `json:"reused,omitempty"`
	RunURL string `json:"runURL,omitempty"`
}

// Test is one test.
type Test struct {
	Suite   string  `json:"suite"`
	Name    string  `json:"name"`
	Status  string  `json:"status"` // passed, failed, error or skipped
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
	// Detail is what a test that failed printed, and File and Line where it did.
	Detail string `json:"detail,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}

// Published is the JSON of publish.
type Published struct {
	Image     string   `json:"image"` // by digest
	Digest    string   `json:"digest"`
	Tags      []string `json:"tags"`
	Unchanged bool     `json:"unchanged"` // the registry had it, with its tags
	// Attached are the kinds of proof that were attached to the image: sbom, provenance.
	Attached []string `json:"attached,omitempty"`
}

// Bumped is the JSON of bump, and of rollback by pull.
type Bumped struct {
	Changes     []manifest.Change `json:"changes"`
	Branch      string            `json:"branch,omitempty"`
	Commit      string            `json:"commit,omitempty"`
	PullRequest string            `json:"pullRequest,omitempty"`
	Unchanged   bool              `json:"unchanged"`
	// Remaining are places that name the image and were not set. Unverified is what could not be rendered to check the
	// change.
	Remaining  []manifest.Remaining  `json:"remaining,omitempty"`
	Unverified []manifest.Unverified `json:"unverified,omitempty"`
}

// Waited is the JSON of wait.
type Waited struct {
	Operator string   `json:"operator"`
	Name     string   `json:"name"`     // NAMESPACE/NAME of the operator's object
	Revision string   `json:"revision"` // the commit that the operator has applied
	Objects  []Object `json:"objects"`
}

// Object is one object that a delivery changed or looked at.
type Object struct {
	Ref     string `json:"ref"`              // Deployment/vote, or Deployment/vote-dev/vote where namespaces differ
	Status  string `json:"status,omitempty"` // created, configured, unchanged, pruned, restored, removed, failed, held
	Ready   bool   `json:"ready,omitempty"`  // wait only
	Message string `json:"message,omitempty"`
}

// Deployed is the JSON of deploy, resume, abort, and of rollback by push.
type Deployed struct {
	Objects []Object `json:"objects"`
	// Revision is the number of the revision that the cluster runs now or, if Held is set, of the one that is held; 0
	// when there is none.
	Revision int `json:"revision"`
	// RolledBack reports that the deploy failed and that what was there before is back.
	RolledBack bool `json:"rolledBack"`
	// Held reports that the release waits for resume or abort.
	Held bool `json:"held,omitempty"`
	// Diff is what was changed, as the verb diff shows it.
	Diff string `json:"-"`
	// Killed is the revision whose deploy was killed and that this deploy took up from; 0 when there is none.
	Killed int `json:"killed,omitempty"`
}

// Changed reports whether anything in the cluster was changed, or a deploy that was killed was finished.
func (d *Deployed) Changed() bool {
	if d.Killed > 0 {
		return true
	}
	for _, o := range d.Objects {
		if o.Status != "unchanged" {
			return true
		}
	}
	return false
}

// Difference is the JSON of diff.
type Difference struct {
	Diff    string `json:"diff"` // unified; the values of Secrets are masked
	Changed bool   `json:"changed"`
}

// Validated is the JSON of validate: the environments whose manifests render.
type Validated struct {
	Environments []ValidEnvironment `json:"environments"`
}

// ValidEnvironment is an environment whose manifests render, to so many objects. 0 means that they stand in another
// repository.
type ValidEnvironment struct {
	Name    string `json:"name"`
	Objects int    `json:"objects"`
}

// Uninstalled is the JSON of uninstall.
type Uninstalled struct {
	Objects []Object `json:"objects"`
}

// History is the JSON of history: the newest revision first.
type History struct {
	Revisions []Revision `json:"revisions"`
}

// Revision is a recorded deploy.
type Revision struct {
	Number         int       `json:"number"`
	Status         string    `json:"status"`
	Image          string    `json:"image,omitempty"`
	SourceRevision string    `json:"sourceRevision,omitempty"`
	RunURL         string    `json:"runURL,omitempty"`
	User           string    `json:"user"`
	Time           time.Time `json:"time"`
	Message        string    `json:"message,omitempty"`
}
