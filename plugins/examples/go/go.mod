module weir.example/by-port

go 1.25

require (
	go.bytecodealliance.org/pkg v0.2.3
	weir.example/bindings v0.0.0
)

// The build writes both.
replace (
	go.bytecodealliance.org/pkg => ../../../target/examples/go/runtime
	weir.example/bindings => ../../../target/examples/go/bindings
)
