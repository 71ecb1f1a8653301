package localplatform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// State is the directory of one platform: an absolute path without symbolic links. Its methods name the files that the
// client and the platform share.
type State string

// OpenState makes the directory if it does not exist, and resolves it to its one name.
func OpenState(dir string) (State, error) {
	if dir == "" {
		return "", errors.New("the platform needs a state directory")
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("opening the platform's state directory: %w", err)
	}
	return State(dir), nil
}

func (s State) String() string { return string(s) }

// Path joins elem to the directory.
func (s State) Path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

// LockFile is locked, and holds the process ID of the locking process, while the platform runs.
func (s State) LockFile() string { return s.Path("lock") }

// InfoFile holds an [Info] as JSON while the platform is ready.
func (s State) InfoFile() string { return s.Path("info.json") }

// CrashFile holds a [CrashError] as JSON when the last platform ended and nobody had asked for it.
func (s State) CrashFile() string { return s.Path("crash.json") }

// Repositories is the directory of the git server's bare repositories, NAME.git each.
func (s State) Repositories() string { return s.Path("git") }

// CrashError reports a platform that ended although nobody had asked for it.
type CrashError struct {
	State  string    `json:"-"`
	Time   time.Time `json:"time"`   // zero when it is not known
	Reason string    `json:"reason"` // which process ended and how, with the end of its log
}

func (e *CrashError) Error() string {
	when := ""
	if !e.Time.IsZero() {
		when = " at " + e.Time.Format(time.TimeOnly)
	}
	return fmt.Sprintf("the local platform in %s stopped%s: %s\n`aksflow up` starts it again", e.State, when, e.Reason)
}

// Load returns the platform that runs in a state directory. When none runs, the error says so; it is a [*CrashError]
// when the last one was not ended by [Down].
func Load(dir string) (*Info, error) {
	none := func() error { return fmt.Errorf("no local platform runs in %s: `aksflow up` starts one", dir) }
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, none()
	}
	s, err := OpenState(dir)
	if err != nil {
		return nil, fault.Usage(err)
	}
	running, err := s.running()
	if err != nil {
		return nil, err
	}
	info := new(Info)
	if running {
		if err = ReadJSON(s.InfoFile(), info); err == nil {
			return info, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the local platform in %s is still starting: wait for `aksflow up`", s)
		}
		return nil, err
	}
	crash := &CrashError{State: string(s)}
	switch err := ReadJSON(s.CrashFile(), crash); {
	case err == nil:
		return nil, crash
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if ReadJSON(s.InfoFile(), info) == nil {
		return nil, &CrashError{State: string(s), Reason: "it was killed"}
	}
	return nil, none()
}

// running reports whether the platform's lock is held.
func (s State) running() (bool, error) {
	lock := flock.New(s.LockFile())
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("looking for a platform in %s: %w", s, err)
	}
	if free {
		return false, lock.Unlock()
	}
	return true, nil
}

// Remove deletes a state directory with all that is in it: images, repositories, the cluster. A platform that runs, or
// starts at this moment, is an error.
func Remove(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := OpenState(dir)
	if err != nil {
		return err
	}
	lock := flock.New(s.LockFile())
	free, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("looking for a platform in %s: %w", s, err)
	}
	if !free {
		return fault.Usagef("the local platform in %s runs: stop it first with `aksflow down`", s)
	}
	defer func() { _ = lock.Unlock() }()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("deleting the local platform: %w", err)
	}
	return nil
}

// ReadJSON reads a file of the state directory. The error for a missing file is fs.ErrNotExist.
func ReadJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return err
}
