"""Which scheduler a namespace has by default."""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, Optional


@dataclass(frozen=True)
class Default:
    """A scheduler for the namespaces that a pattern fits, as a shell's patterns fit names."""

    namespaces: str
    scheduler: str


class Answer(NamedTuple):
    """One scheduler per port, `None` where an earlier plugin has chosen, and why."""

    schedulers: list[Optional[str]]
    reason: str


@dataclass(frozen=True)
class Defaults:
    """Tried in order: the first one that fits a namespace is its default."""

    defaults: list[Default]

    def answer(self, namespace: str, ports: int, prior: list[Optional[str]]) -> Optional[Answer]:
        """The answer about a service, or `None` to keep everything.

        `prior` is what earlier plugins chose, one per port, or empty if none said anything: a default gives way.
        """
        for default in self.defaults:
            if fnmatchcase(namespace, default.namespaces):
                break
        else:
            return None
        chosen = prior or [None] * ports
        if all(chosen):
            return None
        schedulers = [None if scheduler else default.scheduler for scheduler in chosen]
        return Answer(schedulers, f"the default of namespaces {default.namespaces}")


def parse(configuration: str) -> tuple[Defaults, list[str]]:
    """Reads `{"defaults": [{"namespaces": "shop-*", "scheduler": "lc"}]}`, and returns all that is wrong."""
    document = json.loads(configuration)
    if not isinstance(document, dict):
        return Defaults([]), ['write {"defaults": [{"namespaces": "shop-*", "scheduler": "lc"}]}']
    problems = [f"{field}: unknown; there is only defaults" for field in document if field != "defaults"]
    entries = document.get("defaults")
    if not isinstance(entries, list) or not entries:
        return Defaults([]), [*problems, "defaults: must be a list with at least one entry"]
    found = []
    for index, entry in enumerate(entries):
        place = f"defaults[{index}]"
        mistakes = list(_mistakes(entry))
        problems += [f"{place}{mistake}" for mistake in mistakes]
        if not mistakes:
            found.append(Default(**entry))
    return Defaults(found), problems


def _mistakes(entry: object):
    if not isinstance(entry, dict):
        yield ": must be an object with namespaces and scheduler"
        return
    for field in ("namespaces", "scheduler"):
        value = entry.get(field)
        if not isinstance(value, str) or not value.strip():
            yield f".{field}: must be text, and is {json.dumps(value)}"
    for field in sorted(entry.keys() - {"namespaces", "scheduler"}):
        yield f".{field}: unknown; there are namespaces and scheduler"
