// Reads Grafana dashboards with Grafana's own schema, and refuses unknown, missing and mistyped fields.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	runtime := cog.NewRuntime()
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: board FILE...")
		os.Exit(2)
	}
	for _, file := range os.Args[1:] {
		if err := check(file); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

func check(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// Success is an empty list of errors, not nil.
	if err := new(dashboard.Dashboard).UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return err
	}
	// The strict reader overlooks unknown fields of `fieldConfig`, so also check that nothing is lost.
	var board dashboard.Dashboard
	if err := json.Unmarshal(text, &board); err != nil {
		return err
	}
	again, err := json.Marshal(board)
	if err != nil {
		return err
	}
	var given, known any
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	if err := json.Unmarshal(again, &known); err != nil {
		return err
	}
	return lost("", given, known)
}

// lost names the first field of `given` that `known` lacks or changes. Empty lists and objects may be left out.
func lost(path string, given, known any) error {
	switch given := given.(type) {
	case map[string]any:
		known, _ := known.(map[string]any)
		for name, value := range given {
			if err := lost(path+"."+name, value, known[name]); err != nil {
				return err
			}
		}
		return nil
	case []any:
		known, _ := known.([]any)
		if len(given) != len(known) {
			return fmt.Errorf("%s: only %d of %d elements are known", path, len(known), len(given))
		}
		for i, value := range given {
			if err := lost(fmt.Sprintf("%s[%d]", path, i), value, known[i]); err != nil {
				return err
			}
		}
		return nil
	default:
		if !reflect.DeepEqual(given, known) {
			return fmt.Errorf("%s: unknown field, or not a possible value: %v", path, given)
		}
		return nil
	}
}
