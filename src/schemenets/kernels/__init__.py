"""The engine: programs over one primitive, v + W₂ᵀ Φ(W₁u + b₁).

On the CPU, in single and double precision, a program runs as compiled loops if numba is installed: the formula is
``add_block`` in ``kernels/loops.py``. Everything else (other devices and dtypes, ``torch.func``, fluxes without a
``scalar`` form, derivatives of higher order) takes the plain torch operations of :mod:`schemenets.kernels.reference`,
and so does everything if the environment variable ``SCHEMENETS_KERNEL`` is ``reference``. Set it where
``torch.compile`` is to trace ``torch.func``, whose transformations cannot be recognised there.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from schemenets.devices import autocasts, is_dual, is_ordinary
from schemenets.errors import InvalidParameterError
from schemenets.fluxes import Flux
from schemenets.kernels import reference
from schemenets.kernels.program import Program, Recorder

__all__ = ["backend", "block", "differentiate", "run", "takes"]


def block(
    u: Tensor,
    W1: Tensor,
    b1: Tensor | None,
    W2: Tensor,
    lam: Tensor | None,
    flux: Flux,
    w: Tensor | None = None,
    onto: Tensor | None = None,
) -> Tensor:
    """Valid correlation with W₁, flux, transposed correlation with W₂: y = v + W₂ᵀ Φ(W₁u + b₁; λ, w).

    With W₁ = K, W₂ = -τK, no bias and v = u it is the explicit diffusion step of [A].

    Args:
        u: signals, (batch, C_in, N) or (seeds, batch, C_in, N).
        W1: filters, (F, C_in, k) or (seeds, F, C_in, k); the same for the others, whose seeds are independent.
        b1: biases (F,), or None for none.
        W2: filters of the transposed correlation, (F, C_out, k); may be ``W1`` itself.
        lam: contrast parameters λ > 0, (F,), or None for λ = 1 and for fluxes that do not depend on it.
        flux: the flux function Φ.
        w: weights of its shape, (F, ``flux.weights``), or None for fluxes that have none.
        onto: v, of the shape of y, or None for zero; may be ``u`` itself.

    Returns:
        y, (batch, C_out, N) or (seeds, batch, C_out, N), differentiable in all tensors; in their precision, even under
        ``torch.autocast``.

    Raises:
        InvalidParameterError: shapes or dtypes that do not fit together, something else than a flux, weights of
            it that are missing or superfluous, or k > N.
    """
    if autocasts(u):
        with torch.autocast(u.device.type, enabled=False):
            u, onto = u.to(W1.dtype), None if onto is None else onto.to(W1.dtype)  # of layers that were cast
            return block(u, W1, b1, W2, lam, flux, w, onto)
    _check_shapes(u, W1, b1, W2, lam, flux, w, onto)
    given = {"W1": W1, "b1": b1, "W2": W2, "lam": lam if flux.scaled else None, "w": w}
    weights = {name: x for name, x in given.items() if x is not None}
    inputs = [u] if onto is None or onto is u else [u, onto]
    compiled = not torch.compiler.is_compiling() and hasattr(flux, "scalar") and compiles([flux])
    if not (compiled and are_plain([*inputs, *weights.values()])):
        return reference.block(u, W1, b1, W2, lam, flux, w, onto)
    seeds = W1.ndim - 3
    shapes = tuple((name, tuple(x.shape[seeds:])) for name, x in weights.items())
    program = _block(shapes, u.shape[-1], flux, 0 if onto is None else len(inputs))
    y = run(program, [x.flatten(-2) for x in inputs], pack(weights.values(), seeds))
    return y.unflatten(-1, (W2.shape[-2], u.shape[-1]))


@lru_cache(maxsize=1024)
def _block(shapes: tuple[tuple[str, tuple[int, ...]], ...], N: int, flux: Flux, summands: int) -> Program:
    """The primitive as a program; v is u, or the second one of two summands."""
    sizes = dict(shapes)
    _, C, k = sizes["W1"]
    do = Recorder(sizes, k)
    inputs = [do.state(C, N), *([do.state(sizes["W2"][1], N)] if summands == 2 else [])]
    onto = [(None, inputs[summands - 1])] if summands else []
    return do.program(inputs, do.block(inputs[0], do.numbers, flux, onto))


def pack(operands: Iterable[Tensor], seeds: int) -> Tensor:
    """One row of operands, (..., numbers), of tensors with so many dimensions for seeds."""
    return torch.cat([x.flatten(seeds) if x.ndim > seeds else x.unsqueeze(-1) for x in operands], -1)


def run(program: Program, inputs: Sequence[Tensor], operands: Tensor) -> Tensor:
    """The result of a program, differentiable in all tensors.

    Args:
        program: what to do.
        inputs: (batch, numbers) or (seeds, batch, numbers) each, for channels and positions of its states.
        operands: (numbers,) or (seeds, numbers).

    Returns:
        Of such a shape.
    """
    if _fits(program, inputs, operands) and takes(program, [*inputs, operands]):
        from schemenets.kernels import autograd

        try:
            return autograd.run(program, inputs, operands)
        except autograd.NumbaError as error:
            _refuse(program, f"the scalar form of the flux cannot be compiled: {error}")
        except OSError as error:  # when the disk is full, for example
            _refuse(program, f"there is no place for compiled code: {error}")
    return reference.run(program, inputs, operands)


_refused: set[Flux] = set()  # fluxes that numba cannot compile


def _refuse(program: Program, message: str) -> None:
    names = ", ".join(flux.name for flux in program.all_fluxes)
    reason = next(line for line in message.splitlines() if line.strip())
    warnings.warn(f"{names}: plain torch operations are taken, since {reason}", stacklevel=4)
    _refused.update(program.all_fluxes)


def _fits(program: Program, inputs: Sequence[Tensor], operands: Tensor) -> bool:
    """Whether inputs have the shapes that compiled code wants; plain operations broadcast, or say what is wrong."""
    shape = (*operands.shape[:-1], inputs[0].shape[-2])
    sizes = [state.channels * state.N for state in program.inputs]
    return all((*shape, size) == x.shape for x, size in zip(inputs, sizes, strict=True))


def takes(program: Program, tensors: Sequence[Tensor]) -> bool:
    """Whether there is compiled code for a program with such inputs and operands."""
    return _is_compiled(program) and are_plain(tensors)


def _is_compiled(program: Program) -> bool:
    return program.known and len(program.fluxes) < 2 and compiles(program.all_fluxes)


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_is_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]


def differentiate(
    program: Program, inputs: Tensor, targets: Tensor, batch: Tensor, scale: float, operands: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean squared differences between ``scale`` times results and targets, and their derivatives, in compiled code.

    Args:
        program: one of those that it :func:`takes`, with one input.
        inputs: (signals, numbers), or (seeds, signals, numbers) for signals of every seed.
        targets: of such a shape, for results.
        batch: indices of the signals for every seed, (seeds, batch).
        scale: a number.
        operands: (seeds, numbers).

    Returns:
        Losses (seeds,), and derivatives of the shape of the operands.
    """
    from schemenets.kernels import autograd

    of = autograd.engine(program, operands.detach().numpy().dtype)
    u, t = (autograd.array(x, 3) for x in (inputs, targets))
    found = of.train(u, t, batch.contiguous().numpy(), scale, autograd.array(operands, 2))
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def backend() -> str:
    """What :func:`block` runs on the CPU: ``"fused"`` or ``"reference"``.

    Raises:
        InvalidParameterError: the environment variable ``SCHEMENETS_KERNEL`` names a kernel that is not available.
    """
    chosen = os.environ.get("SCHEMENETS_KERNEL")
    if chosen == "reference":
        return chosen
    fastest = "fused" if _has_numba() else "reference"
    if chosen and chosen != fastest:
        expected = "fused or reference" if _has_numba() else "reference, as there is no numba that works"
        raise InvalidParameterError("SCHEMENETS_KERNEL", chosen, expected)
    return fastest


@cache
def _import_numba() -> bool:
    """Whether numba can be imported on a POSIX system, whose file locks the cache of compiled code needs."""
    if find_spec("numba") is None or find_spec("fcntl") is None:
        return False
    try:
        import numba
    except Exception as error:  # such as one for a version of NumPy that this numba does not know
        warnings.warn(f"numba cannot be imported, so networks take plain torch operations: {error}", stacklevel=2)
        return False
    if getattr(numba.config, "DISABLE_JIT", False):
        warnings.warn("NUMBA_DISABLE_JIT is set, so networks take plain torch operations", stacklevel=2)
        return False
    return True


def _has_numba() -> bool:
    return _import_numba()


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_has_numba._dynamo_marked_constant = True  # type: ignore[attr-defined]


def compiles(fluxes: Sequence[Flux]) -> bool:
    """Whether there is compiled code for these."""
    return backend() == "fused" and all(flux.scalar is not None and flux not in _refused for flux in fluxes)


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether compiled code takes these: ordinary tensors with data on the CPU, of one dtype that it knows."""
    dtype = tensors[0].dtype
    if dtype not in (torch.float32, torch.float64) or not all(x.is_cpu and x.dtype == dtype for x in tensors):
        return False
    if torch.compiler.is_compiling():
        return True
    return all(is_ordinary(x) and not is_dual(x) for x in tensors)


def _check_shapes(
    u: Tensor,
    W1: Tensor,
    b1: Tensor | None,
    W2: Tensor,
    lam: Tensor | None,
    flux: Flux,
    w: Tensor | None,
    onto: Tensor | None,
) -> None:
    if not hasattr(flux, "weights"):
        raise InvalidParameterError("flux", flux, 'a flux, such as schemenets.fluxes.get("relu")')
    for name, x in (("u", u), ("b1", b1), ("W2", W2), ("lam", lam), ("w", w), ("onto", onto)):
        if x is not None and x.dtype != W1.dtype:
            raise InvalidParameterError(f"dtype of {name}", x.dtype, f"{W1.dtype}, that of W1")
    if W1.ndim not in (3, 4):
        raise InvalidParameterError("shape of W1", tuple(W1.shape), "(F, C_in, k) or (seeds, F, C_in, k)")
    *seeds, F, C_in, k = W1.shape
    if u.ndim != W1.ndim or [*u.shape[:-3]] != seeds or u.shape[-2] != C_in:
        expected = f"({', '.join(map(str, seeds))}{', ' * bool(seeds)}batch, {C_in}, N)"
        raise InvalidParameterError("shape of u", tuple(u.shape), f"{expected} to fit W1 {tuple(W1.shape)}")
    if not 1 <= k <= u.shape[-1]:
        raise InvalidParameterError("filter length k", k, f"1 to {u.shape[-1]}, the length of u")
    if W2.ndim != W1.ndim or [*W2.shape[:-2]] != [*seeds, F] or W2.shape[-1] != k:
        raise InvalidParameterError("shape of W2", tuple(W2.shape), f"that of W1 {tuple(W1.shape)} up to C_out")
    for name, x in (("b1", b1), ("lam", lam)):
        if x is not None and [*x.shape] != [*seeds, F]:
            raise InvalidParameterError(f"shape of {name}", tuple(x.shape), f"{(*seeds, F)}")
    found = None if w is None else tuple(w.shape)
    fitting = (*seeds, F, flux.weights) if flux.weights else None
    if found != fitting:
        raise InvalidParameterError("shape of w", found, f"{fitting} for the flux {flux.name!r}")
    shape = (*u.shape[:-2], W2.shape[-2], u.shape[-1])
    if onto is not None and onto.shape != shape:
        raise InvalidParameterError("shape of onto", tuple(onto.shape), f"{shape}")
