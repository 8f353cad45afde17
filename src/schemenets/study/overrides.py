"""Configurations of one's own over that of the project: what they mean, and which of them a mistake is from.

A file that is given with ``--configfile`` (``make study CONFIG=mine.yaml``) or ``--config`` replaces what it names in
``config/config.yaml``, key by key. Two things are said more easily there:

* a number of the chosen tier at the top, such as ``seeds: 3`` or ``--config seeds=3``;
* ``like: smoke`` in a tier of one's own, which takes what it does not name from that tier; null leaves something out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
Source = tuple[str, Mapping[str, Any]]  # its name in messages, and what it gives
LIKE = "like"


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    """``base`` with everything in ``over``, where mappings are merged key by key."""
    both = {
        key: merged(base[key], value) if isinstance(value, Mapping) and isinstance(base.get(key), Mapping) else value
        for key, value in over.items()
    }
    return {**base, **both}


def resolved(config: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> Json:
    """The configuration with numbers of the chosen tier in their place, and every tier complete.

    What cannot be understood stays as it is, so that checking it finds it.

    Args:
        config: a whole one, or a part.
        whole: what ``config`` is a part of.
    """
    whole = config if whole is None else whole
    chosen: Any = whole.get("tier") if isinstance(whole.get("tier"), str) else None
    settings = _mapping(_mapping(whole.get("tiers")).get(chosen))
    found, tiers = dict(config), dict(_mapping(config.get("tiers")))
    for name in _in_order(tiers):
        own: Any = tiers[name]
        if isinstance(own, Mapping) and isinstance(tiers.get(str(own.get(LIKE))), Mapping):
            tiers[name] = _without_nulls(merged(tiers[own[LIKE]], {key: own[key] for key in own if key != LIKE}))
    loose = {
        key: found.pop(key)
        for key, value in config.items()
        if _is_number(settings.get(key)) and not isinstance(value, Mapping | list)
    }
    if loose:
        tiers[chosen] = {**_mapping(tiers.get(chosen)), **loose}
    return found | {"tiers": tiers} if tiers else found


def _in_order(tiers: Mapping[str, Any]) -> list[str]:
    """Names of the tiers, each behind the one that it is like."""
    found: list[str] = []

    def add(name: str, behind: tuple[str, ...] = ()) -> None:
        like = str(_mapping(tiers[name]).get(LIKE))
        if like in tiers and like not in (*behind, name):
            add(like, (*behind, name))
        if name not in found:
            found.append(name)

    for name in tiers:
        add(name)
    return found


def _without_nulls(mapping: Mapping[str, Any]) -> Json:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in mapping.items()
        if value is not None
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def blamed(finding: str, sources: Sequence[Source]) -> str:
    """The finding, which begins with the key, behind the name of the source that the value is from.

    That is the last one that gives the key, else the last one that gives the most of the path to it.
    """
    key, _, rest = finding.partition(": ")
    path = [] if key.startswith("(") else key.split(" ")[0].rstrip(",").split(".")
    path += re.findall(r"^got the key '(.*?)'", rest)
    depths = [_depth(path, content) for _, content in sources]
    last = max(range(len(sources)), key=lambda index: (depths[index], index))
    return f"{sources[last][0]}: {finding}"


def _depth(path: Sequence[str], content: Any) -> int:
    """How many parts of a path there are."""
    for depth, part in enumerate(path):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        else:
            return depth
    return len(path)
