"""Fluxes in compiled code: their scalar forms, applied to vectors."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit, types
from numba.core.errors import NumbaError, TypingError, UnsupportedBytecodeError
from numba.extending import overload

from schemenets.kernels import vector_math  # noqa: F401, which makes exp and expm1 known
from schemenets.kernels.simd import BYTES, INLINE, Vector, lane, vector, with_lane

Scalar = Callable[..., tuple]
# in sums that may be reordered λ(s/λ) would cancel, and an infinite λ would not show
ELEMENTWISE = INLINE | {"fastmath": INLINE["fastmath"] - {"reassoc"}}
_scalars: dict[str, tuple[Scalar, bool, int]] = {}


def register(flux: Any) -> str:
    """A name under which compiled code that contains this flux may be kept: it changes when the formula does."""
    whole = _formula(flux.scalar), flux.scaled, flux.weights, _sources(), BYTES
    name = sha256(repr(whole).encode()).hexdigest()
    _scalars[name] = flux.scalar, flux.scaled, flux.weights
    return name


def _formula(function: Any) -> Any:
    """The code of a function, and the numbers and functions that it takes from elsewhere."""
    if not hasattr(function, "__code__"):
        return repr(function) if isinstance(function, int | float | tuple) else None
    code, variables = function.__code__, inspect.getclosurevars(function)
    taken = {**variables.globals, **variables.nonlocals}
    return code.co_code, code.co_consts, code.co_names, {name: _formula(value) for name, value in taken.items()}


@lru_cache
def _sources() -> str:
    """Hash of what is compiled together, of which numba sees only the file that it finds a function in."""
    return sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


def evaluate(name: str, s: Any, lam: Any, inverse: Any, w: tuple[Any, ...]) -> Any:
    """(Φ, ∂Φ/∂s, ∂Φ/∂λ, (∂Φ/∂w_0, ...)/λ) of vectors s, λ, 1/λ and w, in compiled code only."""
    raise NotImplementedError


@overload(evaluate)
def _(name, s, lam, inverse, w):  # type: ignore[no-untyped-def]
    if not isinstance(name, types.StringLiteral):
        return None
    scalar, scaled, weights = _scalars[name.literal_value]
    phi = _on_vectors(scalar, s, weights)

    def fixed(name, s, lam, inverse, w):  # type: ignore[no-untyped-def]
        value, slope = phi(s)
        return value, slope, s, ()

    def contrasting(name, s, lam, inverse, w):  # type: ignore[no-untyped-def]
        t = s * inverse
        value, slope = phi(t)
        return lam * value, slope, value - t * slope, ()

    def weighted(name, s, lam, inverse, w):  # type: ignore[no-untyped-def]
        t = s * inverse
        value, slope, slopes_w = phi(t, w)
        return lam * value, slope, value - t * slope, slopes_w

    return weighted if weights else contrasting if scaled else fixed


def _on_vectors(scalar: Scalar, s: Vector, weights: int) -> Any:
    """A scalar form as a function of vectors; lane by lane if it chooses with ``if`` or calls what vectors lack."""
    try:
        phi = njit(scalar, **ELEMENTWISE)
    except TypeError as error:  # no function
        raise TypingError(str(error)) from error
    arguments = (s, types.UniTuple(s, weights)) if weights else (s,)
    try:
        phi.get_call_template(arguments, {})
        return phi
    except UnsupportedBytecodeError as error:  # which is no error of numba's own kind
        raise TypingError(str(error)) from error
    except NumbaError:
        alone, count = njit(scalar, **ELEMENTWISE), s.lanes
    if weights:
        raise TypingError("the scalar form of a flux with weights has to do without if, see schemenets.fluxes.where")

    def by_lanes(t):  # type: ignore[no-untyped-def]
        value = slope = vector(lane(t, 0))
        for i in range(count):
            phi_i, dphi_i = alone(lane(t, i))
            value, slope = with_lane(value, i, phi_i), with_lane(slope, i, dphi_i)
        return value, slope

    return njit(by_lanes, **ELEMENTWISE)
