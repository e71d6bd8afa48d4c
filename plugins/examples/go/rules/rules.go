// Package rules decides which scheduler a port gets.
package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Configured holds the rules in force. weir configures each fresh instance once, before any other call.
var Configured Rules

// Rules are tried in order; the first that matches a port decides.
type Rules []Rule

// A Rule gives ports a scheduler.
type Rule struct {
	// Protocol is tcp, udp or sctp; empty for all protocols.
	Protocol string `json:"protocol"`
	// Ports that clients use; empty for all ports.
	Ports []uint16 `json:"ports"`
	// Scheduler is one of the kernel, or `default` for the configured one.
	Scheduler string `json:"scheduler"`
	// Flags of the scheduler; nil keeps those that are set.
	Flags []string `json:"flags"`
}

var (
	protocols = []string{"", "tcp", "udp", "sctp"}
	flags     = []string{"fallback", "port", "one-packet"}
)

// Find returns the index of the first rule for a port; false if no rule matches.
func (rules Rules) Find(protocol string, port uint16) (int, bool) {
	for i, rule := range rules {
		if (rule.Protocol == "" || rule.Protocol == protocol) &&
			(len(rule.Ports) == 0 || slices.Contains(rule.Ports, port)) {
			return i, true
		}
	}
	return 0, false
}

// Parse reads `{"rules": [{"protocol": "udp", "ports": [53], "scheduler": "sh"}]}`, and returns all mistakes.
func Parse(configuration string) (Rules, []string) {
	var document struct {
		Rules []json.RawMessage `json:"rules"`
	}
	if err := decode([]byte(configuration), &document); err != nil {
		return nil, []string{err.Error()}
	}
	if len(document.Rules) == 0 {
		return nil, []string{"rules: write at least one, for instance {\"protocol\": \"udp\", \"scheduler\": \"sh\"}"}
	}
	var problems []string
	rules := make(Rules, len(document.Rules))
	for i, text := range document.Rules {
		// Decode each rule separately, so that a mistake in one does not hide mistakes in the others.
		if err := decode(text, &rules[i]); err != nil {
			problems = append(problems, fmt.Sprintf("rules[%d]: %v", i, err))
			continue
		}
		for _, problem := range rules[i].problems() {
			problems = append(problems, fmt.Sprintf("rules[%d].%s", i, problem))
		}
	}
	return rules, problems
}

func (rule Rule) problems() []string {
	var problems []string
	if !slices.Contains(protocols, rule.Protocol) {
		problems = append(problems, fmt.Sprintf("protocol: %q is not a protocol; write tcp, udp or sctp, or leave it out", rule.Protocol))
	}
	if slices.Contains(rule.Ports, 0) {
		problems = append(problems, "ports: 0 is not a port; write 1 to 65535")
	}
	if strings.TrimSpace(rule.Scheduler) == "" {
		problems = append(problems, "scheduler: missing; write a scheduler of the kernel, for instance lc, or default")
	}
	for _, flag := range rule.Flags {
		if !slices.Contains(flags, flag) {
			problems = append(problems, fmt.Sprintf("flags: %q is not a flag; write any of %s", flag, strings.Join(flags, ", ")))
		}
	}
	return problems
}

// decode reads one document and rejects unknown fields, so that a misspelt one is not ignored.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("unexpected data after the end of the document")
	}
	return nil
}
