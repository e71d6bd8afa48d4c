// A plugin for weir that chooses schedulers by protocol and port.
//
// The decisions are made in the package rules, which knows nothing of WebAssembly. weir calls the two packages whose names
// start with export_; the generated code requires these names.
package main

// Translates weir's calls into calls of the packages above.
import _ "weir.example/bindings/wit_exports"

// A component has no main program, but Go requires one.
func main() {}
