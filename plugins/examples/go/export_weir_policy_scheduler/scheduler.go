// Package export_weir_policy_scheduler implements the interface `scheduler` of the contract.
package export_weir_policy_scheduler

import (
	"fmt"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
	"weir.example/bindings/weir_policy_scheduler"
	"weir.example/bindings/weir_policy_types"
	"weir.example/by-port/rules"
)

type (
	answer = wit.Result[[]weir_policy_scheduler.Schedule, weir_policy_types.Error]
	port   = weir_policy_types.Port
)

// ScheduleServices answers each request with one schedule, in order.
func ScheduleServices(_ weir_policy_types.Context, requests []weir_policy_scheduler.Request) answer {
	schedules := make([]weir_policy_scheduler.Schedule, len(requests))
	for i, request := range requests {
		schedules[i] = schedule(request.Service.Ports)
	}
	return wit.Ok[[]weir_policy_scheduler.Schedule, weir_policy_types.Error](schedules)
}

func schedule(ports []port) weir_policy_scheduler.Schedule {
	var reasons []string
	schedulings := make([]weir_policy_scheduler.Scheduling, len(ports))
	for i, port := range ports {
		schedulings[i] = keep()
		protocol := protocolName(port.Protocol)
		index, found := rules.Configured.Find(protocol, port.Port)
		if !found {
			continue
		}
		rule := rules.Configured[index]
		schedulings[i].Scheduler = wit.Some(rule.Scheduler)
		if rule.Flags != nil {
			schedulings[i].SchedulerFlags = wit.Some(rule.Flags)
		}
		reasons = append(reasons, fmt.Sprintf("rules[%d] matches %s port %d", index, protocol, port.Port))
	}
	if len(reasons) == 0 {
		// No ports: the answer of earlier plugins stays.
		return weir_policy_scheduler.Schedule{}
	}
	return weir_policy_scheduler.Schedule{
		Ports:  wit.Some(schedulings),
		Reason: wit.Some(strings.Join(reasons, ", ")),
	}
}

// keep changes nothing. An absent option is the zero value, so only the variants must be set.
func keep() weir_policy_scheduler.Scheduling {
	return weir_policy_scheduler.Scheduling{
		Persistence: weir_policy_scheduler.MakePersistenceKeep(),
		Weights:     weir_policy_scheduler.MakeWeightsKeep(),
	}
}

func protocolName(protocol weir_policy_types.Protocol) string {
	switch protocol {
	case weir_policy_types.ProtocolTcp:
		return "tcp"
	case weir_policy_types.ProtocolUdp:
		return "udp"
	default:
		return "sctp"
	}
}
