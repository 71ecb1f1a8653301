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

// Find returns the absolute path of the program name: beside the running executable, else in the directory that [Dir]
// names, else on PATH or where system administration programs are. The error ends in the remedy: a Debian package when
// debian names one, else this repository's own build.
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
		// LookPath with a slash in the name checks that very file.
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
	return "", fmt.Errorf("the program %s is not there: %s", name, remedy)
}

// All finds several programs at once: names maps each to the Debian package that has it, or to "". The error names
// every one that lacks.
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
