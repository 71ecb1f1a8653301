//go:build !unix

package cli

// foreground reports whether keys such as Ctrl-C reach the programs that this process started without its help.
func foreground() bool { return true }
