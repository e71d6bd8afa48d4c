"""A plugin for weir that gives each namespace a default scheduler.

The decisions are made in the module `defaults`, which knows nothing of WebAssembly. This file is what weir calls: one
class per interface of the contract. The package `wit_world` is generated from the contract by the build.
"""

import defaults
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import Description
from wit_world.exports.scheduler import Persistence_Keep, Request, Schedule, Scheduling, Weights_Keep
from wit_world.imports.types import Context

# weir configures each fresh instance once, before it asks anything.
configured = defaults.Defaults([])


class Lifecycle(exports.Lifecycle):
    def configure(self, configuration: str) -> None:
        """Takes the configuration, or raises everything that is wrong with it."""
        global configured
        configured, problems = defaults.parse(configuration)
        if problems:
            raise Err(problems)

    def describe(self) -> Description:
        """Who the plugin is. It reads only what weir shows every plugin, so it declares no needs."""
        return Description(name="namespace-defaults", version="0.1.0", needs=[], metrics=None, extra=None)


class Scheduler(exports.Scheduler):
    def schedule_services(self, ctx: Context, requests: list[Request]) -> list[Schedule]:
        """Answers each request with one schedule, in order."""
        return [schedule(request) for request in requests]


def schedule(request: Request) -> Schedule:
    prior = [port.scheduler for port in request.prior.ports or []]
    answer = configured.answer(request.service.namespace, len(request.service.ports), prior)
    if answer is None:
        # No ports: what earlier plugins said stays.
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
