// Package conformance says what aksflow asks of an engine, as a suite of small graphs. It knows the Dagger SDK and
// nothing of an engine, so that the same tests judge a Dagger engine and the embedded one.
//
// Most graphs answer one question: did this command run again? They print the kernel's random UUID, which differs in
// each run of a command.
package conformance
