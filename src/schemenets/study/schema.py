"""YAML files checked against strict JSON schemas, with one line per violation."""

import json
import math
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, TypeChecker, validators
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from schemenets.errors import ConfigError

# Schema keywords in plain words; any other keyword keeps the validator's own message.
_EXPECTED = {
    "type": "a value of type {}",
    "const": "{!r}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "{} or more entries",
    "minProperties": "{} or more entries",
    "maxItems": "at most {} entries",
    "minLength": "{} or more characters",
    "pattern": "text that matches {!r}",
    "uniqueItems": "entries that all differ",
}


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses keys given twice, of which YAML's own loader silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(path: Path, schema_path: Path) -> Any:
    """Content of the YAML file ``path``, valid under the JSON schema in ``schema_path``.

    Raises:
        ConfigError: the file is missing, is not YAML or breaks the schema.
    """
    data = read(path)
    validate(data, schema_path, path)
    return data


def read(path: Path) -> Any:
    """Content of a YAML file, checked against nothing.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: file is missing; run this in the project's directory.")
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    return data


def validate(data: object, schema_path: Path, source_path: Path) -> None:
    """Check ``data``, read from ``source_path``, against the JSON schema (2020-12) in ``schema_path``.

    Raises:
        ConfigError: one line per violation, with file, key path (dots), value and what is expected.
    """
    if lines := violations(data, schema_path):
        raise ConfigError("\n".join(f"{source_path}: {line}" for line in lines))


def violations(data: object, schema_path: Path) -> list[str]:
    """One line per violation of the schema, with key path (dots), value and what is expected.

    A schema may refer to others in its directory by the names of their files.
    """
    registry: Registry[Any] = Registry(
        retrieve=lambda name: _resource(Path(schema_path).parent / name)  # type: ignore[call-arg]
    )
    errors = _Validator(_content(schema_path), registry=registry).iter_errors(data)
    errors = sorted(errors, key=lambda error: error.json_path)
    return list(dict.fromkeys(line for error in errors for line in _lines(error)))


def _content(schema_path: Path) -> Any:
    return json.loads(Path(schema_path).read_text(encoding="utf-8"))


def _resource(schema_path: Path) -> "Resource[Any]":
    """Another schema that one refers to by its name."""
    return Resource.from_contents(_content(schema_path))


def _is_integer(checker: TypeChecker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: TypeChecker, value: object) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


# JSON Schema takes 2.0 for an integer, and YAML has .nan and .inf
_Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
)


def _lines(error: ValidationError) -> Iterator[str]:
    given: Any = error.instance
    limit: Any = error.validator_value
    rules: Any = error.schema
    path = [str(part) for part in error.absolute_path]
    line = f"{'.'.join(path) or '(top level)'}: got {given!r:.80}, expected "
    if error.validator == "additionalProperties" and limit is False:
        known = rules.get("properties", {})
        for name in (name for name in given if name not in known):
            yield f"{'.'.join(path) or '(top level)'}: got the key {name!r}, expected {_choice(name, known)}"
    elif error.validator == "required":
        missing = [name for name in limit if name not in given]
        yield f"{'.'.join(path) or '(top level)'}: got no {', '.join(missing)}, expected a value for each."
    elif error.validator == "enum":
        yield line + _choice(given, limit)
    elif error.validator in _EXPECTED:
        limit = " or ".join(limit) if isinstance(limit, list) else limit
        yield line + f"{_EXPECTED[error.validator].format(limit)}."
    else:
        yield f"{'.'.join(path) or '(top level)'}: {error.message}."


def _choice(given: object, allowed: Iterable[object]) -> str:
    names = [str(name) for name in allowed]
    close = get_close_matches(str(given), names, n=1)
    return f"one of {', '.join(names)}." + (f" Did you mean {close[0]!r}?" if close else "")
