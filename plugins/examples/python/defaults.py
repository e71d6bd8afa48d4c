"""Chooses the default scheduler of a namespace."""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, Optional


@dataclass(frozen=True)
class Default:
    """A scheduler for the namespaces that match a shell-style pattern."""

    namespaces: str
    scheduler: str


class Answer(NamedTuple):
    """One scheduler per port, `None` where an earlier plugin has chosen, and the reason."""

    schedulers: list[Optional[str]]
    reason: str


@dataclass(frozen=True)
class Defaults:
    """Tried in order: the first pattern that matches a namespace gives its default."""

    defaults: list[Default]

    def answer(self, namespace: str, ports: int, prior: list[Optional[str]]) -> Optional[Answer]:
        """Returns the answer for a service, or `None` to keep everything.

        `prior` contains the choices of earlier plugins, one per port, or is empty; they take precedence over a default.
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
    """Reads `{"defaults": [{"namespaces": "shop-*", "scheduler": "lc"}]}`, and returns all mistakes."""
    document = json.loads(configuration)
    if not isinstance(document, dict):
        return Defaults([]), ['write {"defaults": [{"namespaces": "shop-*", "scheduler": "lc"}]}']
    problems = [f"{field} is an unknown field: use defaults" for field in document if field != "defaults"]
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
            yield f".{field}: must be text, not {json.dumps(value)}"
    for field in sorted(entry.keys() - {"namespaces", "scheduler"}):
        yield f".{field} is an unknown field: use one of namespaces, scheduler"
