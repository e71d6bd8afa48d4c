// A plugin for weir that chooses schedulers by protocol and port.
//
// The decisions are made in the package rules, which knows nothing of WebAssembly. The two packages whose names start
// with export_ are what weir calls; the generated code wants them to have these names.
package main

// What weir calls, translated into calls of our own packages.
import _ "weir.example/bindings/wit_exports"

// A component has no main program, but Go wants one.
func main() {}
