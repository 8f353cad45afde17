"""A trainable flux: g = σ(z) with z = Σ_j w_j ρ_j(|s|/λ), five weights w_j for every filter.

The bumps are ρ_j(t) = C(4,j) t^{2j}/(1+t²)⁴, j = 0, ..., 4, with the maxima at t = 0, 1/√3, 1, √3 and ∞. In terms of
p = t²/(1+t²) ∈ [0, 1), in which the diffusivity 1/(1+q) of Perona and Malik is the straight line 1 - p, they are the
Bernstein polynomials of degree 4: z is a Bézier curve and the weights are its control points. So the bumps are
equispaced where a diffusivity changes, resolve small and large responses alike, are smooth and even in s, and have
the sum 1, whence |z| ≤ max |w_j|. The sigmoid σ(z) = ½ (1 + z/√(1+z²)) needs no exponential function: that makes
compiled loops ten times faster.

Whatever the weights are, 0 < g < 1 = L. With a box |w_j| ≤ W the slopes are bounded, too (derived). As
t dp/dt = 2p(1-p), they are Φ' = σ(z) + 2p(1-p) z' σ'(z), where z' = dz/dp = 4 Σ_j (w_{j+1} - w_j) β_j with the
Bernstein polynomials β_j = C(3,j) p^j (1-p)^{3-j}. For p ∈ [j/4, (j+1)/4] the ρ_i with i ≤ j fall and the others rise,
so that |z'| ≤ W Σ_i |ρ_i'| = 8W β_j. Hence 2p(1-p)|z'| ≤ 16W max_j max_p p(1-p) β_j, which is A = 48W (2/5)² (3/5)³
at j = 1, p = 2/5, and

    Φ' ≤ L' = max_z σ(z) + A σ'(z),  at z = (3A - √(9A²-4))/2,   Φ' ≥ -m = min_z σ(z) - A σ'(z) = 1 - L',

by the symmetries σ(-z) = 1 - σ(z) and σ'(-z) = σ'(z). Corners of the box come within 0.2 % of these bounds.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from schemenets.errors import InvalidParameterError
from schemenets.fluxes._base import Flux

W = 6.0  # of the box: g lies between 0.007 and 0.993
CELLS = 2**13  # of the grid on which slopes of given weights are bounded
ROUNDING = 1e-12  # more than the rounding errors of a slope in float64
NODES, QUADRATURE = (x.tolist() for x in np.polynomial.legendre.leggauss(128))


def sigma(z: Tensor) -> Tensor:
    return 0.5 * (1 + z * torch.rsqrt(1 + z**2))


def dsigma(z: Tensor) -> Tensor:
    return 0.5 * (1 + z**2) ** -1.5


def curve(p: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """z and dz/dp, by de Casteljau's algorithm."""
    points = list(w.unbind(-1))
    while len(points) > 2:
        points = [a + p * (b - a) for a, b in pairwise(points)]
    a, b = points
    return a + p * (b - a), 4 * (b - a)


def slope(p: Tensor, w: Tensor) -> Tensor:
    z, dz = curve(p, w)
    return sigma(z) + 2 * p * (1 - p) * dz * dsigma(z)


def phi(t: Tensor, w: Tensor) -> Tensor:
    return t * sigma(curve(1 - 1 / (1 + t**2), w)[0])


def dphi(t: Tensor, w: Tensor) -> Tensor:
    return slope(1 - 1 / (1 + t**2), w)


def psi(t: Tensor, w: Tensor) -> Tensor:
    """∫ g dq from 0 to q = t²: with g = g₁ + h(1-p) + k(1-p)², expanded at p = 1, it is g₁q + h log(1+q) + ∫ k dp.

    That k is smooth up to p = 1, so Gauss-Legendre quadrature converges exponentially: the error is at most
    1e-11 ψ, in the corners of the box; the nodes keep a distance of 8e-5 from p = 1, where k is 0/0.
    """
    q = (t**2).clamp(max=torch.finfo(t.dtype).max)
    P = q / (1 + q)
    first, last = w[..., -2], w[..., -1]
    g, h = sigma(last), 4 * (first - last) * dsigma(last)
    integral = torch.zeros_like(P)
    for node, weight in zip(NODES, QUADRATURE, strict=True):
        p = P * (1 + node) / 2
        integral = integral + weight / 2 * (sigma(curve(p, w)[0]) - g - h * (1 - p)) / (1 - p) ** 2
    return g * q + h * torch.log1p(q) + P * integral


def scalar(t: float, w: tuple[float, float, float, float, float]) -> tuple[float, float, tuple[float, ...]]:
    """z and dz/dp as polynomials of x = 2p - 1, whose coefficients loops compute once for all t."""
    ends, middle, rise, bend = w[0] + w[4], w[1] + w[3], w[4] - w[0], w[3] - w[1]
    c0, c4 = (ends + 4.0 * middle + 6.0 * w[2]) / 16.0, (ends - 4.0 * middle + 6.0 * w[2]) / 16.0
    c1, c3, c2 = (rise + 2.0 * bend) / 4.0, (rise - 2.0 * bend) / 4.0, (ends - 2.0 * w[2]) * 0.375
    r = 1.0 / (1.0 + t * t)
    p, x = 1.0 - r, 1.0 - 2.0 * r
    z = (((c4 * x + c3) * x + c2) * x + c1) * x + c0
    half_dz = ((4.0 * c4 * x + 3.0 * c3) * x + 2.0 * c2) * x + c1
    root = 1.0 / math.sqrt(1.0 + z * z)
    g = 0.5 + 0.5 * z * root
    dg = 0.5 * root * root * root
    r2, p2, rp = r * r, p * p, r * p
    first, last = t * dg * r2, t * dg * p2
    bumps = first * r2, 4.0 * first * rp, 6.0 * first * p2, 4.0 * last * rp, last * p2
    return g * t, g + 4.0 * rp * half_dz * dg, bumps


def enclosure(w: Tensor, p_max: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least and largest Φ' on a grid of p ∈ [0, p_max], and how far beyond them Φ' may be in between (derived).

    That is δ²/8 max |d²Φ'/dp²| on a grid of width δ. With G(p) = g and c = 2p(1-p), Φ' = G + cG' has the second
    derivative -4G' + (1+2c')G'' + cG''' with |1+2c'| ≤ 5 and c ≤ ½; and the bounds D_i of the derivatives of z, which
    are 4!/(4-i)! times the largest difference of order i of the weights, with those of σ, namely
    |σ'| ≤ ½, |σ''| ≤ 24/(25√5) < 0.43, |σ'''| ≤ 3/2, bound the derivatives of G = σ∘z.

    Args:
        w: (..., 5), in float64.
        p_max: (...).
    """
    p = torch.linspace(0, 1, CELLS + 1, dtype=w.dtype) * p_max[..., None]
    values = slope(p, w[..., None, :])
    D = [math.perm(4, i) * w.diff(i).abs().amax(-1) for i in (1, 2, 3)]
    first = D[0] / 2
    second = D[1] / 2 + 0.43 * D[0] ** 2
    third = D[2] / 2 + 3 * 0.43 * D[0] * D[1] + 1.5 * D[0] ** 3
    excess = (p_max / CELLS) ** 2 / 8 * (4 * first + 5 * second + third / 2) + ROUNDING
    return values.amin(-1), values.amax(-1), excess


def bounds(w: Tensor) -> tuple[Tensor, Tensor]:
    w = in_box(w)
    least, largest, excess = enclosure(w, torch.ones(w.shape[:-1], dtype=w.dtype))
    return (excess - least).clamp(0, m), (largest + excess).clamp(max=L_prime)


def monotonicity(w: ArrayLike, lam: ArrayLike, s_max: ArrayLike) -> NDArray[np.str_]:
    """Whether Φ is ``"monotone"`` or ``"nonmonotone"`` on the responses |s| ≤ s_max that a filter takes.

    ``"undecided"`` if its least slope there is 0 up to the accuracy of the bounds, which is 1e-5 or better for
    weights like the initial ones.

    Args:
        w: weights (..., 5).
        lam: contrasts λ (...).
        s_max: largest magnitude of the responses (...), in the same units.

    Returns:
        One word for every filter, (...).

    Raises:
        InvalidParameterError: λ ≤ 0, s_max < 0, or weights outside their box.

    >>> monotonicity([2, 1, 0, -1, -2], 0.1, [0.01, 1.0]).tolist()
    ['monotone', 'nonmonotone']
    """
    lam, s_max = (torch.as_tensor(x, dtype=torch.float64) for x in (lam, s_max))
    for name, value, fine, expected in (("lam", lam, lam > 0, "positive"), ("s_max", s_max, s_max >= 0, "at least 0")):
        if not fine.all():
            raise InvalidParameterError(name, value.tolist(), expected)
    least, _, excess = enclosure(in_box(torch.as_tensor(w)), 1 - 1 / (1 + (s_max / lam) ** 2))
    words = np.where(least >= excess, "monotone", "undecided")
    return np.where(least < -ROUNDING, "nonmonotone", words)


def in_box(w: Tensor) -> Tensor:
    """The weights in float64."""
    if not (w.abs() <= W).all():
        raise InvalidParameterError("w", w.tolist(), f"numbers between -{W} and {W}")
    return w.double()


# g close to 1 - p, that of Perona and Malik: least squares on 201 points p of [0, 1], which a test repeats
INITIAL = (2.178658, -0.224701, 0.0, 0.224701, -2.178658)
A = 48 * W * (2 / 5) ** 2 * (3 / 5) ** 3
z = torch.tensor((3 * A - math.sqrt(9 * A**2 - 4)) / 2, dtype=torch.float64)
L_prime = float(sigma(z) + A * dsigma(z))
m = L_prime - 1

FLUX = Flux(
    name="learned",
    L=1.0,
    L_prime=L_prime,
    m=m,
    odd=True,
    monotone=False,
    nonnegative=True,
    scaled=True,
    phi=phi,
    dphi=dphi,
    psi=psi,
    scalar=scalar,
    initial=INITIAL,
    box=W,
    bounds=bounds,
)
