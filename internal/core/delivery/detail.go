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
}

// Tested is the JSON of test.
type Tested struct {
	Summary string   `json:"summary"`
	Tests   []Test   `json:"tests"`
	Reports []string `json:"reports"` // paths of the JUnit XML files
}

// Test is one test.
type Test struct {
	Suite   string  `json:"suite"`
	Name    string  `json:"name"`
	Status  string  `json:"status"` // passed, failed, error or skipped
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
}

// Published is the JSON of publish.
type Published struct {
	Image     string   `json:"image"` // by digest
	Digest    string   `json:"digest"`
	Tags      []string `json:"tags"`
	Unchanged bool     `json:"unchanged"` // the registry had it, with its tags
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
}

// Changed reports whether anything in the cluster was changed.
func (d *Deployed) Changed() bool {
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
