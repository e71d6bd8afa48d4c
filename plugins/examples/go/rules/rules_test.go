package rules

import (
	"strings"
	"testing"
)

func TestTheFirstRuleThatFitsDecides(t *testing.T) {
	rules, problems := Parse(`{"rules": [
		{"protocol": "tcp", "ports": [5432, 3306], "scheduler": "lc"},
		{"protocol": "udp", "scheduler": "sh", "flags": ["port"]},
		{"ports": [5432], "scheduler": "rr"}
	]}`)
	if problems != nil {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		protocol string
		port     uint16
		index    int
		found    bool
	}{{"tcp", 5432, 0, true}, {"udp", 5432, 1, true}, {"sctp", 5432, 2, true}, {"tcp", 80, 0, false}} {
		if index, found := rules.Find(c.protocol, c.port); index != c.index || found != c.found {
			t.Errorf("%s port %d: %d %t, want %d %t", c.protocol, c.port, index, found, c.index, c.found)
		}
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	_, problems := Parse(`{"rules": [
		{"protocol": "icmp", "ports": [0], "flags": ["sticky"]},
		{"scheduler": "lc", "prots": [80]},
		{"scheduler": "lc", "ports": [65536]}
	]}`)
	places := []string{
		"rules[0].protocol", "rules[0].ports", "rules[0].scheduler", "rules[0].flags",
		`rules[1]: json: unknown field "prots"`, "rules[2]: ",
	}
	if len(problems) != len(places) {
		t.Fatalf("%d problems, want %d: %q", len(problems), len(places), problems)
	}
	for i, place := range places {
		if !strings.HasPrefix(problems[i], place) {
			t.Errorf("%q does not name %s", problems[i], place)
		}
	}
}

func TestAConfigurationIsNeeded(t *testing.T) {
	for _, configuration := range []string{"null", "{}", `{"rules": []}`, `{"rulez": []}`, `{"rules": [{"scheduler": "lc"}]} 1`} {
		if _, problems := Parse(configuration); len(problems) != 1 {
			t.Errorf("%s: %q", configuration, problems)
		}
	}
}
