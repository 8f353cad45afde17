"""Specifications: what a job is to do, as one line of JSON, the same for equal specifications."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemenets.errors import ConfigError


def dumps(spec: Mapping[str, Any]) -> str:
    """The specification as one line of JSON."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def is_spec(text: str) -> bool:
    """Whether the text is meant as a specification, not as the name of one."""
    return text.lstrip().startswith("{") or text.endswith(".json")


def loads(text: str) -> dict[str, Any]:
    """The specification in a line of JSON, or in the file of this name.

    Raises:
        ConfigError: neither JSON nor a file with JSON.
    """
    try:
        spec = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"specification {text!r:.80} is neither JSON nor a readable file of JSON: {error}") from error
    if not isinstance(spec, dict):
        raise ConfigError(f"specification {text!r:.80}: allowed: a JSON object.")
    return spec
