"""Solvers of σx + τKᵀΦ(Kx) = b: problems on grids of any size, and multigrid cycles that learn to solve them.

The numerical schemes are in :mod:`schemenets.schemes.multigrid` and :mod:`schemenets.schemes.fas`; the multigrid U-net
that learns its operator as well is :mod:`schemenets.networks.multigrid_unet`.

>>> import torch
>>> problem = Problem(tau=100.0, flux="charbonnier", contrast=0.02)
>>> network = CycleArchitecture(problem=problem).build()
>>> network(torch.rand(2, 256)).shape
torch.Size([2, 256])
"""

from schemenets.multigrid.certificates import CycleCertificate, certify
from schemenets.multigrid.cycle import CycleArchitecture, CycleNetwork
from schemenets.multigrid.iteration import Iteration, iterate
from schemenets.multigrid.learned_equation import LearnedEquation
from schemenets.multigrid.problems import Grid, Problem
from schemenets.multigrid.solving import Solving

__all__ = [
    "CycleArchitecture",
    "CycleCertificate",
    "CycleNetwork",
    "Grid",
    "Iteration",
    "LearnedEquation",
    "Problem",
    "Solving",
    "certify",
    "iterate",
]
