"""A plugin for weir that gives each namespace a default scheduler.

The decisions are made in the module `defaults`, which knows nothing of WebAssembly. weir calls this file: it has one
class per interface of the contract. The build generates the package `wit_world` from the contract.
"""

import defaults
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import Description
from wit_world.exports.scheduler import Persistence_Keep, Request, Schedule, Scheduling, Weights_Keep
from wit_world.imports.types import Context

# weir configures each fresh instance once, before any other call.
configured = defaults.Defaults([])


class Lifecycle(exports.Lifecycle):
    def configure(self, configuration: str) -> None:
        """Stores the configuration, or raises all mistakes in it."""
        global configured
        configured, problems = defaults.parse(configuration)
        if problems:
            raise Err(problems)

    def describe(self) -> Description:
        """Identifies the plugin. It reads only data that every plugin gets, so it declares no needs."""
        return Description(name="namespace-defaults", version="0.1.0", needs=[], metrics=None, extra=None)


class Scheduler(exports.Scheduler):
    def schedule_services(self, ctx: Context, requests: list[Request]) -> list[Schedule]:
        """Answers each request with one schedule, in order."""
        return [schedule(request) for request in requests]


def schedule(request: Request) -> Schedule:
    prior = [port.scheduler for port in request.prior.ports or []]
    answer = configured.answer(request.service.namespace, len(request.service.ports), prior)
    if answer is None:
        # No ports: the answer of earlier plugins stays.
        return Schedule(ports=None, drain=None, reason=None, re_evaluate_after=None, metrics=None, extra=None)
    ports = [
        Scheduling(
            scheduler=scheduler,
            scheduler_flags=None,
            persistence=Persistence_Keep(),
            weights=Weights_Keep(),
            persistence_group=None,
            extra=None,
        )
        for scheduler in answer.schedulers
    ]
    return Schedule(ports=ports, drain=None, reason=answer.reason, re_evaluate_after=None, metrics=None, extra=None)
