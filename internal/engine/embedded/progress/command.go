package progress

import "strings"

// Command is what a command is called. A shell that ends with exec "$@" only prepares for the command that its arguments
// are: sh -c '…; exec "$@"' sh COMMAND….
func Command(args []string) string {
	if len(args) > 4 && args[1] == "-c" && strings.HasSuffix(args[2], `exec "$@"`) {
		args = args[4:]
	}
	return strings.Join(args, " ")
}
