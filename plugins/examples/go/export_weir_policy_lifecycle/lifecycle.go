// Package export_weir_policy_lifecycle is the interface `lifecycle` of the contract.
package export_weir_policy_lifecycle

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"weir.example/bindings/weir_policy_lifecycle"
	"weir.example/by-port/rules"
)

// Configure takes the configuration, or returns everything that is wrong with it.
func Configure(configuration string) wit.Result[wit.Unit, []string] {
	parsed, problems := rules.Parse(configuration)
	if len(problems) > 0 {
		return wit.Err[wit.Unit](problems)
	}
	rules.Configured = parsed
	return wit.Ok[wit.Unit, []string](wit.Unit{})
}

// Describe says who the plugin is. It reads only what weir shows every plugin, so it declares no needs.
func Describe() weir_policy_lifecycle.Description {
	return weir_policy_lifecycle.Description{Name: "by-port", Version: "0.1.0"}
}
