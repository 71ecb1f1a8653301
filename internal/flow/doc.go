// Package flow knows which steps bring an application to an environment, and in which order.
//
// A verb makes a [Request] of its flags, opens it as a [Delivery] and runs all of its steps or some: `aksflow build` and
// the build of `aksflow deliver` are the same code. What became of the steps is a [Result], which texts, JSON and the
// summaries of CI systems are made from.
package flow
