// Package export_weir_policy_lifecycle implements the interface `lifecycle` of the contract.
package export_weir_policy_lifecycle

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"weir.example/bindings/weir_policy_lifecycle"
	"weir.example/by-port/rules"
)

// Configure stores the configuration, or returns all mistakes in it.
func Configure(configuration string) wit.Result[wit.Unit, []string] {
	parsed, problems := rules.Parse(configuration)
	if len(problems) > 0 {
		return wit.Err[wit.Unit](problems)
	}
	rules.Configured = parsed
	return wit.Ok[wit.Unit, []string](wit.Unit{})
}

// Describe identifies the plugin. It reads only data that every plugin gets, so it declares no needs.
func Describe() weir_policy_lifecycle.Description {
	return weir_policy_lifecycle.Description{Name: "by-port", Version: "0.1.0"}
}
