"""The safeguarded fast semi-iterative network: FSI with a bound for weights of their own in every block (derived).

The explicit step w = u^k - τ_k K_kᵀΦ(K_k u^k) is extrapolated as in :mod:`~schemenets.networks.fsi`, but by no more
than keeps the state in the ball of the first one: with u^{-1} := u^0 and s_k = α_k - 1 = (2k-1)/(2k+3),

    u^{k+1} = w + s (w - u^{k-1}),   s the largest number in [0, s_k] with ‖u^{k+1}‖₂ ≤ ‖u^0‖₂,   k = 0, ..., n-1,

and s = s_0 = -1/3 in the first block. 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) in every block give ‖u^k‖₂ ≤ ‖u^0‖₂ for all k, for
any weights and nonmonotone fluxes (``networks/_safeguard.py`` has the proof, and what happens where the
condition fails); ``certified`` networks satisfy it whatever their parameters are, as the symmetric network does.

For one linear operator, tied weights and the linear flux with τ‖K‖² ≤ 2, the safeguard never acts, as all states of FSI
obey the bound. So the network is FSI then, box filters and stopping time included.
"""

import torch
from torch import Tensor

from schemenets.kernels.program import Numbers, Recorder
from schemenets.networks import fsi
from schemenets.networks._safeguard import Safeguarded
from schemenets.networks.symmetric import Symmetric


class SafeguardedFSI(Safeguarded, Symmetric):
    """The blocks of the symmetric network, extrapolated within a bound; the same numbers of parameters."""

    signed = False

    @classmethod
    def wanted(cls, do: Recorder, k: int) -> Numbers:
        return do.constant(fsi.extrapolation(k) - 1)

    def factors(self, operands: dict[str, Tensor], k: int) -> Tensor:
        return torch.tensor(fsi.extrapolation(k) - 1)


NETWORK = SafeguardedFSI
