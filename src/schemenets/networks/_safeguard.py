"""Extrapolation that stays in the ball of the first state, which the safeguarded two-step networks share.

With w an explicit step of u^k and u^{-1} := u^0, two-step schemes extrapolate it by a factor s_k > -1,

    u^{k+1} = w + s (w - u^{k-1}),   s = s_k.

Here s is the largest number in [0, s_k] with ‖u^{k+1}‖₂ ≤ max(‖w‖₂, ‖u^0‖₂), the norm that of all channels and
positions of the state, so one s for every signal; s_k ≤ 0 makes a convex combination and remains as it is. The norm is
convex in s and 0 is allowed, so everything up to the larger root of a quadratic is.

Stability (derived): if no explicit step increases the norm, ‖u^k‖₂ ≤ ‖u^0‖₂ for all k, for different weights in every
block and nonmonotone fluxes. For then ‖w‖ ≤ ‖u^k‖ ≤ ‖u^0‖ by induction, an extrapolated step is no longer than that by
its choice, and a convex combination no longer than its ends. For explicit steps with factors c_k ≥ 1 the same
induction gives ‖u^n‖₂ ≤ c_0 ... c_{n-1} ‖u^0‖₂, the bound of the explicit steps alone.

Further properties (derived):

* u^{k+1} is an affine combination of w and u^{k-1}, so the mean is kept wherever K annihilates constants.
* Where the scheme obeys the bound by itself, s = s_k and both are the same.
* For certified weights and s_k ≤ 1 the safeguard acts only if ⟨w, w - u^{k-1}⟩ > 0. For s = -1 is allowed, too, so the
  mean -⟨w, w - u^{k-1}⟩/‖w - u^{k-1}‖² of the two roots is negative if the larger one is below 1.
* The network is not local: every value acts on s, and s everywhere.
* It is continuous, but u^{k+1} is no Lipschitz function of the states: where w, u^{k-1} and u^0 come together, changes
  of w by η can move it by the order of √η. So no Lipschitz bound is known where the safeguard can act.
"""

import torch
from torch import Tensor

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.kernels.extrapolation import extrapolated, factor
from schemenets.kernels.program import Numbers, Recorder, State
from schemenets.networks._base import WEIGHTS, Architecture, DenoisingNetwork


class Safeguarded(DenoisingNetwork):
    """Extrapolated explicit steps, none of them longer than the first state."""

    certifiable = True

    @classmethod
    def wanted(cls, do: Recorder, k: int) -> Numbers:
        """s_k."""
        raise NotImplementedError

    def reach(self, length: int) -> int:
        return length

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        start = previous = u
        for k in range(architecture.blocks):
            w = do.block(u, do.of(WEIGHTS, k), fluxes[k % len(fluxes)], [(None, u)])
            previous, u = u, do.safeguard(w, previous, start, cls.wanted(do, k))
        return u

    @torch.no_grad()
    def extrapolations(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """s_k and the s that is taken for each of these signals; the safeguard acts where they differ.

        Args:
            f: signals of shape (..., batch, length).

        Returns:
            Both of shape (blocks, ..., batch).
        """
        self.check_signals(f)
        own, seeds = self.operands(self.together(), f.shape[-1]), f.ndim - 2
        u = f.unsqueeze(-2)
        if self.architecture.channels > 1:
            u = u * self.lift[..., None, :, None]
        start = previous = u
        wanted, taken = [], []
        for k in range(self.architecture.blocks):
            weights = {n: own[n].select(seeds, k % own[n].shape[seeds]) for n in WEIGHTS if n in own}
            b1, lam, w, b2 = (weights.get(n) for n in ("b1", "lam", "w", "b2"))
            flux = self.fluxes()[k % len(self.blocks)]
            w = kernels.block(u, weights["W1"], b1, weights["W2"], lam, flux, w, onto=u)
            w = w if b2 is None else w + b2[..., None, :, None]
            s_k = self.factors(own, k).to(u).expand(f.shape[:-2])[..., None, None, None]
            s = factor(s_k, w, w - previous, start).s
            previous, u = u, extrapolated(s_k, w, previous, start)
            wanted.append(s_k.expand_as(s))
            taken.append(s)
        s_k, s = (torch.stack(factors).squeeze((-2, -1)) for factors in (wanted, taken))
        return s_k, s

    def factors(self, operands: dict[str, Tensor], k: int) -> Tensor:
        """s_k, (*seeds,) or ()."""
        raise NotImplementedError
