"""Named errors. Each message names what is wrong, what was got and what is expected."""

import operator
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class SchemenetsError(ValueError):
    """Base of every error that schemenets raises about its input."""

    def __reduce__(self) -> Any:  # by its message: a process that raises it may send it to another one
        return _again, (type(self), str(self))


def _again(kind: type[SchemenetsError], message: str) -> SchemenetsError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    return error


class UnknownNameError(SchemenetsError):
    """A name that is not known."""

    SHOWN = 40  # names; of more the message shows the first

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        shown = names if len(names) <= self.SHOWN else [*names[:3], f"... ({len(names)} names)"]
        expected = f"one of {', '.join(shown)}" if names else "none"
        super().__init__(f"{kind}: got {name!r}, expected {expected}.{hint}")


class InvalidParameterError(SchemenetsError):
    """A parameter outside its range."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{name}: got {value!r}, expected {expected}.")


class ConfigError(SchemenetsError):
    """A configuration that cannot be run; names file, key, value and what is expected."""


class CheckpointError(SchemenetsError):
    """A checkpoint or data file that is missing, damaged or of another network."""


class MissingFileError(CheckpointError):
    """A file that is not there."""

    def __init__(self, path: object) -> None:
        super().__init__(f"{path}: file is missing")


LARGEST = 2**63 - 1  # integer of torch


def integer(name: str, value: object, least: int) -> int:
    """The value as an integer of Python, for example if it is one of NumPy.

    Raises:
        InvalidParameterError: it is none, less than ``least``, or too large for torch.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise InvalidParameterError(name, value, f"an integer of at least {least}")
    if number > LARGEST:
        raise InvalidParameterError(name, value, f"an integer of at most {LARGEST}")
    return number
