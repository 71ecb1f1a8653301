// Package contract is what the embedded engine and its shim agree on: paths inside the containers, flags, exit codes.
package contract

// Inside a container.
const (
	Dir  = "/.aksflow"           // where the engine mounts its things; not part of the resulting file system
	Shim = Dir + "/aksflow-shim" // the shim's executable
	Out  = Dir + "/out"          // where `exec` leaves Stdout, Stderr and ExitCode

	Forward = Dir + "/forward" // the directory with the sockets that `forward` connects to, each named by its port

	Session = Dir + "/session" // the socket of the session that a command may use: see SessionPort

	Stdin = Dir + "/stdin" // a file with what a command reads from standard input
)

// The environment variables by which a Dagger SDK finds the session that its program runs in: a port of 127.0.0.1, and the
// password of its requests. https://docs.dagger.io/reference/configuration/engine
const (
	SessionPort  = "DAGGER_SESSION_PORT"
	SessionToken = "DAGGER_SESSION_TOKEN"
)

// The files that `exec` writes into its -out directory.
const (
	Stdout   = "stdout"
	Stderr   = "stderr"
	ExitCode = "exitcode" // decimal
)

// What `changes` compares, and the file that it writes into its last directory: Changes in JSON.
const (
	Before      = Dir + "/before"
	After       = Dir + "/after"
	ChangesFile = "changes.json"
)

// Changes are the paths in which a directory differs from an older one, sorted. Those of directories end with a slash; of
// what was removed, only the topmost ones are named.
type Changes struct{ Added, Modified, Removed []string }

// Expect says which exit codes `exec` takes for success: it then exits with 0. Its values are those of Dagger's
// ReturnType.
type Expect string

const (
	Success Expect = "SUCCESS" // 0
	Failure Expect = "FAILURE" // 1–127 and 192–255
	Any     Expect = "ANY"     // 0–127 and 192–255
)

// Accepts reports whether a command may end with code. 128–191 is death by signal, which nobody expects.
func (e Expect) Accepts(code int) bool {
	bySignal := code >= 128 && code < 192
	switch e {
	case Any:
		return !bySignal
	case Failure:
		return code != 0 && !bySignal
	default:
		return code == 0
	}
}

// BuildKit leaves the addresses of a step's services out of its cache key, so the engine first tries a step without
// them: if it is cached, no service needs to start. Such a step finds NotRunning as the address of ServicesHost in its
// /etc/hosts, and `exec -services` ends with NeedServices before it has done anything.
const (
	ServicesHost = "services.aksflow.internal"
	NotRunning   = "0.0.0.0"
	NeedServices = 190
)

// UnexpectedSuccess is what `exec` exits with when the command succeeded and should not have: its own 0 would say that
// all is well.
const UnexpectedSuccess = 191

// AddressPrefix begins the first line that `serve` writes to standard error; the container's IPv4 address follows.
const AddressPrefix = "aksflow-shim: address "

// CodePrefix begins the last line that `check` writes to standard output; the command's exit code follows.
const CodePrefix = "aksflow-shim: exit code "
