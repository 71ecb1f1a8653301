// Package git reads and writes git repositories in process; no git binary is called.
//
// [Head] and [SourceOf] look at a work tree on disk. [Remote] is a repository on a server: [Remote.Open] fetches a few
// branches into a [Clone], whose [Tree] is a file system, and [Clone.Push] moves a branch by one commit. Package forge,
// below this one, opens pull requests.
package git
