"""Bounds of a sequence of parts, some of them certified networks and some the user's own.

With rms(P(u)) ≤ c rms(u) + β and ‖P(u) - P(v)‖₂ ≤ ℓ ‖u - v‖₂ for every part P, the sequence of P and then P' has

    c' c,   β' + c' β,   ℓ' ℓ.

A part with Lipschitz constant ℓ has c = ℓ and β = rms(P(0)), by the triangle inequality.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from schemenets.errors import InvalidParameterError
from schemenets.stability.certificates import Certificate


class Bounds(NamedTuple):
    """Of a map of signals, whose root mean square is rms.

    Attributes:
        euclidean: c with rms(output) ≤ c rms(input) + drift; infinite where none is known.
        drift: β, in the units of the signals.
        lipschitz: ℓ with ‖output - output'‖₂ ≤ ℓ ‖input - input'‖₂; infinite where none is known.
    """

    euclidean: float
    drift: float
    lipschitz: float


def lipschitz_part(constant: float, at_zero: float = 0.0) -> Bounds:
    """Bounds of a part of one's own.

    Args:
        constant: its Lipschitz constant ℓ in the Euclidean norm, for example the product of the largest singular values
            of its layers.
        at_zero: root mean square of what it makes of the zero signal.

    Raises:
        InvalidParameterError: a number that is negative or NaN.
    """
    for name, value in (("constant", constant), ("at_zero", at_zero)):
        if not value >= 0:
            raise InvalidParameterError(name, value, "a number of at least 0")
    return Bounds(constant, at_zero, constant)


def of_sequence(parts: Sequence[Certificate | Bounds]) -> Bounds:
    """Bounds of parts that are applied one after the other, all to signals of one shape.

    >>> of_sequence([lipschitz_part(2.0), Bounds(euclidean=1.0, drift=0.1, lipschitz=1.5)])
    Bounds(euclidean=2.0, drift=0.1, lipschitz=3.0)

    Args:
        parts: in the order they are applied; certificates of networks, bounds, or :func:`lipschitz_part`.

    Raises:
        InvalidParameterError: something else than these.
    """
    if isinstance(parts, Certificate | Bounds):
        raise InvalidParameterError("parts", type(parts).__name__, "a list of certificates and bounds")
    c, beta, ell = 1.0, 0.0, 1.0
    for part in parts:
        if not isinstance(part, Certificate | Bounds):
            expected = "a certificate, Bounds, or lipschitz_part(constant)"
            raise InvalidParameterError("part", type(part).__name__, expected)
        # without a bound nothing is known of its output, not even for the zero signal
        own, added = (math.inf, math.inf) if part.euclidean is None else (part.euclidean, part.drift)
        c, beta, ell = _times(own, c), added + _times(own, beta), _times(part.lipschitz, ell)
    return Bounds(c, beta, ell)


def _times(a: float, b: float) -> float:
    """Their product, 0 if one is 0."""
    return a * b if a and b else 0.0
