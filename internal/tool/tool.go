// Package tool finds the programs that aksflow runs.
package tool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Dir names the environment variable that holds a directory of tools.
const Dir = "AKSFLOW_BIN"

// Find returns the absolute path of the program name. It looks beside the running executable, then in the directory that
// the variable [Dir] names, then along PATH, then in the directories of system administration programs. The error ends with
// the remedy: the Debian package debian, or `make setup` if debian is empty.
func Find(name, debian string) (string, error) {
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Dir(self))
	}
	if dir := os.Getenv(Dir); dir != "" {
		places = append(places, dir)
	}
	places = append(places, filepath.SplitList(os.Getenv("PATH"))...)
	places = append(places, "/usr/local/sbin", "/usr/sbin", "/sbin") // not on every user's PATH
	for _, place := range places {
		// LookPath checks only this file, because the name has a slash.
		path, err := exec.LookPath(filepath.Join(place, name))
		if err != nil {
			continue
		}
		return filepath.Abs(path)
	}
	remedy := fmt.Sprintf("`make setup` builds it; %s may name the directory that holds it", Dir)
	if debian != "" {
		remedy = fmt.Sprintf("`apt-get install %s` installs it", debian)
	}
	return "", fmt.Errorf("the program %s was not found: %s", name, remedy)
}

// All finds several programs. names maps each program to its Debian package, or to "". The error lists all missing programs.
func All(names map[string]string) (map[string]string, error) {
	found := make(map[string]string, len(names))
	var missing []string
	for name, debian := range names {
		path, err := Find(name, debian)
		if err != nil {
			missing = append(missing, err.Error())
			continue
		}
		found[name] = path
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(missing, "\n"))
	}
	return found, nil
}
