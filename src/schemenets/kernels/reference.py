"""Programs in plain torch operations: any device, any dtype, any number of derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from schemenets.fluxes import Flux
from schemenets.kernels import program as steps
from schemenets.kernels.extrapolation import extrapolated
from schemenets.kernels.program import Numbers, Program, State, Step


def correlate(u: Tensor, W: Tensor) -> Tensor:
    """W u: valid correlation of ``u`` (..., batch, C, N) with ``W`` (..., F, C, k), to (..., batch, F, N-k+1)."""
    windows = u.unfold(-1, W.shape[-1], 1)  # (..., batch, C, N-k+1, k)
    return (W.flatten(-2).unsqueeze(-3) @ windows.transpose(-2, -1).flatten(-3, -2)).contiguous()


def correlate_adjoint(v: Tensor, W: Tensor) -> Tensor:
    """Wᵀ v: transposed correlation of ``v`` (..., batch, F, M) with ``W`` (..., F, C, k), to (..., batch, C, M+k-1)."""
    k = W.shape[-1]
    taps = (W.flatten(-2).transpose(-2, -1).unsqueeze(-3) @ v).unflatten(-2, (-1, k))  # (..., batch, C, k, M)
    return sum((pad(taps[..., i, :], (i, k - 1 - i)) for i in range(1, k)), pad(taps[..., 0, :], (0, k - 1)))


def per_filter(lam: Tensor | None, w: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
    """λ (..., F) and w (..., F, j) as fluxes take them together with states (..., batch, F, M)."""
    return 1.0 if lam is None else lam[..., None, :, None], None if w is None else w[..., None, :, None, :]


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
    """``onto`` + W₂ᵀ Φ(W₁u + b₁); see :func:`schemenets.kernels.block`."""
    s = correlate(u, W1)
    if b1 is not None:
        s = s + b1[..., None, :, None]
    y = correlate_adjoint(flux(s, *per_filter(lam, w)), W2)
    return y if onto is None else onto + y


def restrict(x: Tensor, r: Tensor, shift: int = 0) -> Tensor:
    """Rx, (..., N) to (..., N/2 rounded down): Σ_j r[j] x[2i + j - 1 + shift], x mirrored by one value at its ends."""
    n = x.shape[-1] // 2
    y = torch.cat((x[..., :1], x, x[..., -1:], x[..., -1:]), -1)[..., shift:]
    first, *rest = (r[..., j : j + 1] * y[..., j : j + 2 * n : 2][..., :n] for j in range(4))
    return sum(rest, first)


def prolong(e: Tensor, r: Tensor, N: int, shift: int = 0) -> Tensor:
    """Rᵀe, (..., N/2 rounded down) to (..., N), the exact transpose of :func:`restrict`."""
    n = e.shape[-1]
    pairs = (pad(r[..., j : j + 1] * e, (0, 1)) + pad(r[..., j + 2 : j + 3] * e, (1, 0)) for j in (0, 1))
    # the places of the mirrored signal that R reads, the first of which is one before x
    y = pad(torch.stack(tuple(pairs), -1).flatten(-2), (shift, N + 1 - 2 * n))
    y = torch.cat((y[..., :1] + y[..., 1:2], y[..., 2:]), -1)
    return torch.cat((y[..., : N - 1], y[..., N - 1 :].sum(-1, keepdim=True)), -1)


def run(program: Program, inputs: Sequence[Tensor], operands: Tensor) -> Tensor:
    """The result of a program.

    Args:
        program: what to do.
        inputs: (..., batch, numbers) each, for channels and positions of its states.
        operands: (..., numbers), for seeds where the inputs have some.

    Returns:
        (..., batch, numbers).
    """
    return _Run(program, inputs, operands).result()


class _Run:
    """One run of a program: parts of buffers by buffer and first channel, and pieces of the operands."""

    def __init__(self, program: Program, inputs: Sequence[Tensor], operands: Tensor) -> None:
        self.program, self.like = program, operands
        lengths, self.places = program.segments
        self.pieces = operands.split(lengths, -1)
        self.parts: dict[int, dict[int, Tensor]] = {}
        for state, x in zip(program.inputs, inputs, strict=True):
            self.put(state, x.unflatten(-1, (state.channels, state.N)))

    def put(self, state: State, x: Tensor) -> None:
        self.parts.setdefault(state.buffer, {})[state.first] = x

    def state(self, state: State) -> Tensor:
        """(..., batch, channels, N)."""
        parts = self.parts[state.buffer]
        if state.first in parts and parts[state.first].shape[-2] == state.channels:
            return parts[state.first]
        return torch.cat([parts[first] for first in sorted(parts)], -2)

    def number(self, numbers: Numbers | None, otherwise: Any = None) -> Any:
        """(..., *own shape); a float for a single constant."""
        if numbers is None:
            return otherwise
        if numbers.first >= self.program.operands:
            return self.program.constants[numbers.first - self.program.operands]
        piece = self.pieces[self.places[numbers.first]]
        return piece.unflatten(-1, numbers.shape) if numbers.shape else piece.squeeze(-1)

    def factor(self, step: Step, name: str) -> Any:
        """A number as it multiplies states."""
        c = self.number(step.numbers.get(name), 1.0)
        return c if isinstance(c, float) else c.reshape(*self.like.shape[:-1], 1, 1, 1)

    def result(self) -> Tensor:
        for step in self.program.steps:
            self.put(step.states["y"], _STEPS[step.code](self, step))
        return self.state(self.program.output).flatten(-2)


def _block(run: _Run, step: Step) -> Tensor:
    get = {name: run.number(step.numbers.get(name)) for name in ("W1", "b1", "W2", "lam", "w", "b2")}
    flux: Any = step.flux
    base: Any = None
    for name, factor in (("v", "c0"), ("z", "c1")):
        if name in step.states:
            part = run.state(step.states[name])
            part = run.factor(step, factor) * part if factor in step.numbers else part
            base = part if base is None else base + part
    base = block(run.state(step.states["u"]), get["W1"], get["b1"], get["W2"], get["lam"], flux, get["w"], base)
    return base if get["b2"] is None else base + get["b2"][..., None, :, None]


def _mix(run: _Run, step: Step) -> Tensor:
    y = run.number(step.numbers["W1"]).unsqueeze(-3) @ run.state(step.states["u"])
    b = run.number(step.numbers.get("b2"))
    return y if b is None else y + b[..., None, :, None]


def _merge(run: _Run, step: Step) -> Tensor:
    V = run.number(step.numbers["W1"])
    d = V.shape[-1] - 1
    return correlate(pad(run.state(step.states["u"]), (d // 2, d - d // 2)), V.unsqueeze(-3))


def _upsample(run: _Run, step: Step) -> Tensor:
    W, b = run.number(step.numbers["W1"]), run.number(step.numbers["b2"])
    pairs = (W.flatten(-2).transpose(-2, -1).unsqueeze(-3) @ run.state(step.states["u"])).unflatten(-2, (-1, 2))
    return pairs.transpose(-2, -1).flatten(-2) + b[..., None, :, None]


def _activate(run: _Run, step: Step) -> Tensor:
    flux: Any = step.flux
    lam, w = (run.number(step.numbers.get(name)) for name in ("lam", "w"))
    return flux(run.state(step.states["u"]), *per_filter(lam, w))


def _pool(run: _Run, step: Step) -> Tensor:
    return run.state(step.states["u"]).unflatten(-1, (-1, 2)).amax(-1)


def _extend(run: _Run, step: Step) -> Tensor:
    u, N = run.state(step.states["u"]), step.sizes["D"]
    more = max(0, N - u.shape[-1])
    return torch.cat((u, u[..., -1:].expand(*u.shape[:-1], more)), -1)[..., :N] if more else u[..., :N]


def _restrict(run: _Run, step: Step) -> Tensor:
    r = run.number(step.numbers["r"])[..., None, None, :]
    return restrict(run.state(step.states["u"]), r, step.sizes["shift"])


def _prolong(run: _Run, step: Step) -> Tensor:
    e = run.state(step.states["u"])
    if "z" in step.states:
        e = e - run.state(step.states["z"])
    r = run.number(step.numbers["r"])[..., None, None, :]
    y = run.factor(step, "c0") * prolong(e, r, step.sizes["N"], step.sizes["shift"])
    return run.state(step.states["v"]) + y if "v" in step.states else y


def _residual(run: _Run, step: Step) -> Tensor:
    grid: Any = step.grid
    A = grid(run.state(step.states["u"]))
    b = run.state(step.states["v"]) if "v" in step.states else 0.0
    return b - step.sizes["sign"] * A


def _sweep(run: _Run, step: Step) -> Tensor:
    grid: Any = step.grid
    psi: Any = step.flux
    x, b = (run.state(step.states[name]) for name in ("u", "v"))
    W, lam = (run.number(step.numbers.get(name)) for name in ("W1", "lam"))
    r, D = grid.smoothing(x, b)
    scale = D.rsqrt()
    z = r * scale
    o = run.factor(step, "c0") * z
    if W is not None:
        d = W.shape[-1] - 1
        s = correlate(pad(z, (d, d)), W.unsqueeze(-2))
        o = o + correlate_adjoint(psi(s, *per_filter(lam, None)), W.unsqueeze(-2))[..., d : d + grid.N]
    return x + scale * o


def _safeguard(run: _Run, step: Step) -> Tensor:
    w, previous, start = (run.state(step.states[name]) for name in ("u", "v", "z"))
    s_k = run.factor(step, "c0")
    return extrapolated(w.new_full((1, 1, 1), s_k) if isinstance(s_k, float) else s_k, w, previous, start)


_STEPS: dict[int, Callable[[_Run, Step], Tensor]] = {
    steps.BLOCK: _block,
    steps.MIX: _mix,
    steps.MERGE: _merge,
    steps.UPSAMPLE: _upsample,
    steps.ACTIVATE: _activate,
    steps.POOL: _pool,
    steps.EXTEND: _extend,
    steps.RESTRICT: _restrict,
    steps.PROLONG: _prolong,
    steps.RESIDUAL: _residual,
    steps.SWEEP: _sweep,
    steps.SAFEGUARD: _safeguard,
}
