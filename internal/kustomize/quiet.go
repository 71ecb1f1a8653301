package kustomize

import (
	"bufio"
	"context"
	"log"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/aksflow/aksflow/internal/core/report"
)

// output guards the process's standard error and standard logger, to which kustomize and Helm print.
var output sync.Mutex

// Quietly runs do and passes on as warnings what libraries print meanwhile. Lines that no user can act on are dropped:
// kustomize marks fields as deprecated that it goes on to read, and takes its own defaults for flags.
func Quietly(ctx context.Context, do func()) {
	output.Lock()
	defer output.Unlock()
	reader, writer, err := os.Pipe()
	if err != nil {
		do()
		return
	}
	var lines []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			lines = append(lines, scanner.Text())
		}
	}()
	func() {
		stderr, logger, flags := os.Stderr, log.Writer(), log.Flags()
		os.Stderr = writer
		log.SetOutput(writer)
		log.SetFlags(0)
		defer func() {
			os.Stderr = stderr
			log.SetOutput(logger)
			log.SetFlags(flags)
			writer.Close()
		}()
		do()
	}()
	<-read
	reader.Close()
	shown := map[string]bool{}
	for _, line := range lines {
		if line = libraryWarning(line); line != "" && !shown[line] { // a chart may be rendered more than once
			shown[line] = true
			report.Warn(ctx, "%s", line)
		}
	}
}

var (
	noise = regexp.MustCompile(`' is deprecated\. Please use '|^Warning: Sorting order is set both|^$|^(INFO|DEBUG) `)
	// libraryPrefix is what kustomize, the standard logger and slog put before a message.
	libraryPrefix = regexp.MustCompile(`^(# )?([Ww]arning|WARN|ERROR):? `)
	// logged is the value that Helm prints behind a key. It may be a password.
	logged = regexp.MustCompile(` \(.*\)$`)
)

// libraryWarning is a line that a library printed, as a warning of this program; "" when it says nothing to act on.
func libraryWarning(line string) string {
	if line = strings.TrimSpace(line); noise.MatchString(line) {
		return ""
	}
	return logged.ReplaceAllString(libraryPrefix.ReplaceAllString(line, ""), "")
}
