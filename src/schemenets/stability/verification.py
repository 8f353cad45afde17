"""Norms, maps and bounds of networks, computed a second time by dense matrices with NumPy and SciPy alone.

``verify`` reads a checkpoint file without torch. Constraints of the parameters, fluxes and their constants L, L' and m
are written a second time here, K is a dense Toeplitz matrix, the steps are those of the reference schemes in
:mod:`schemenets.schemes`. So it shares neither the forward map nor norms and certificates with the networks. Only a
flux that somebody adds to the package is taken as it is.
"""

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import eigh, toeplitz
from scipy.sparse import linalg as sparse

from schemenets import checkpoints, files, fluxes
from schemenets.errors import InvalidParameterError
from schemenets.networks import Architecture
from schemenets.schemes import du_fort_frankel, explicit, implicit, safeguarded_du_fort_frankel, safeguarded_fsi
from schemenets.schemes._base import Array
from schemenets.stability.certificates import Certificate, certify

SCALES = (1e-3, 1.0, 1e3)  # root mean squares of the signals; those of the study lie in [0, 1]
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}  # of outputs, relative: more than rounding makes
# of safeguarded steps, in which rounding errors ε can become as large as √ε
ROOTS = {torch.float32: 5e-3, torch.float64: 5e-7}
ROUNDING = 1e-12  # of norms and distances, relative to what they are computed from
SAFETY, LARGEST, RATE = 1e-6, 30.0, 0.99  # of the constraints of networks
LARGEST_DECOMPOSED = 512  # rows or columns of matrices whose products with themselves are decomposed
CONTRACTION = "τ max(L', m)‖K‖² < 1"
ENDS = "‖lift‖‖projection‖ ≤ 1"


def _distances(rows: Array) -> Array:
    """Euclidean distances of all pairs of rows."""
    i, j = np.triu_indices(len(rows), 1)
    distances: Array = np.linalg.norm(rows[i] - rows[j], axis=-1)
    return distances


def dense_norm(K: ArrayLike, length: int) -> float:
    """‖K‖₂ as the largest singular value of the dense matrix of a valid correlation.

    Args:
        K: filters (filters, channels, kernel_size), an array or a tensor without gradients.
        length: length of the signals that K is applied to.
    """
    return _largest_singular_value(dense_matrix(K, length))


def dense_matrix(K: ArrayLike, length: int) -> Array:
    """The matrix (filters · rows, channels · length) of a valid correlation; the same arguments."""
    K = np.asarray(K, dtype=np.float64)
    zeros = np.zeros(length - K.shape[-1])
    return np.block([[toeplitz(np.r_[taps[0], zeros], np.r_[taps, zeros]) for taps in channels] for channels in K])


def _largest_singular_value(M: Array) -> float:
    """By the largest eigenvalue of the smaller one of MᵀM and MMᵀ, or by Lanczos iterations to machine precision."""
    if (n := min(M.shape)) <= LARGEST_DECOMPOSED:
        gram = M.T @ M if M.shape[1] == n else M @ M.T
        return math.sqrt(max(0.0, eigh(gram, eigvals_only=True, subset_by_index=[n - 1, n - 1])[0]))
    start = np.random.default_rng(0).standard_normal(n)
    return float(sparse.svds(M, k=1, tol=0, v0=start, return_singular_vectors=False)[0])


def verify(path: Path | str, length: int, seed: int | None = None) -> list[str]:
    """Contradictions to the certificate of a checkpoint, found on generated signals of this length.

    The network has to compute what the scheme of its name computes with its parameters, up to rounding, in single and
    in double precision. Every block has to meet the conditions of its theorem, with ‖K‖ by dense matrices. These
    matrices give bounds: no output may be longer, and no two outputs further apart, than they allow. The certificate,
    whose norms are not smaller, must not promise smaller bounds, and the same bound of norms where its theorem says
    that they do not increase. Bounds that depend on slopes of learned fluxes are not compared, as slopes are taken for
    all weights here.

    Args:
        path: of the checkpoint.
        length: of the signals.
        seed: which of its networks; need not be given if there is only one.

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint, or has no network of this seed.
        InvalidParameterError: no second map is known for this network, its flux has negative diffusivities, or the
            signals are shorter than the filters.
    """
    network = checkpoints.load(path, seed)
    if (own := next(network.parameters()).dtype) not in TOLERANCES:
        raise InvalidParameterError("precision of the network", own, "single or double")
    # of the values that the network has in its precision; those here are computed in double precision throughout
    certificate, rounding = certify(network), 8 * torch.finfo(own).eps
    if length < (k := network.architecture.kernel_size):
        raise InvalidParameterError("length", length, f"at least the kernel size {k}")
    scheme = _Dense.read(path, length, seed)
    f = _signals(scheme.blocks[0].K, length, scheme.lift)
    expected = np.stack([scheme(signal) for signal in f])
    size, size_after = (np.linalg.norm(signals, axis=1) for signals in (f, expected))
    found = []
    for dtype, tolerance in scheme.tolerances.items():
        with torch.no_grad():
            output = copy.deepcopy(network).to(dtype)(torch.from_numpy(f).to(dtype)).double().numpy()
        error = float((np.linalg.norm(output - expected, axis=1) / np.maximum(size, size_after)).max())
        if not error <= tolerance:
            bits = torch.finfo(dtype).bits
            found.append(f"in {bits} bits its output differs by {error:.1e} from that of its scheme in NumPy")
    margins = {
        f"blocks.{index}: {condition}": margin
        for index, A in enumerate(scheme.blocks)
        for condition, margin in scheme.margins(A).items()
    }
    for condition, margin in (margins | {ENDS: 1 - scheme.ends()}).items():
        if not margin >= 0:
            found.append(f"{condition} fails by dense matrices, with a margin of {margin:.6g}")
    bound, drift = scheme.bound(), scheme.drift()
    gain = float(((size_after - (1 + ROUNDING) * drift * math.sqrt(length)) / size).max())
    if not gain <= bound * (1 + ROUNDING):
        found.append(f"it amplifies a signal by {gain:.6g}, but its bound by dense matrices is {bound:.6g}")
    between = _distances(f)
    apart = _distances(expected) - ROUNDING * size_after.max()  # biases may be far larger than signals
    lipschitz, apart = scheme.lipschitz(), float((apart[between > 0] / between[between > 0]).max())
    if not apart <= lipschitz * (1 + 1e-9):
        found.append(
            f"it moves signals apart by {apart:.6g}, but its Lipschitz bound by dense matrices is {lipschitz:.6g}"
        )
    learned = bool(scheme.blocks[0].shape)
    certified = math.inf if certificate.euclidean is None else certificate.euclidean
    if math.isfinite(bound) and not (learned and scheme.by_slopes):
        # where the theorem holds, the norm of K does not count any more
        most = bound if certificate.holds and not scheme.by_slopes else math.inf
        if not bound * (1 - rounding) <= certified <= most * (1 + rounding):
            found.append(f"its bound is {certified:.6g}, but by dense matrices {bound:.6g}")
        if math.isfinite(certified) and not certificate.drift >= drift * (1 - rounding):
            found.append(f"its drift is {certificate.drift:.6g}, but by dense matrices {drift:.6g}")
    if math.isfinite(lipschitz) and not learned and not certificate.lipschitz >= lipschitz * (1 - rounding):
        found.append(f"its Lipschitz bound is {certificate.lipschitz:.6g}, but by dense matrices {lipschitz:.6g}")
    return found


def can_verify(architecture: Architecture) -> bool:
    """Whether ``verify`` knows the network, and its flux has nonnegative diffusivities."""
    known = architecture.steps == "positive" and architecture.name in _SCHEMES
    return known and fluxes.get(architecture.flux).nonnegative


def to_verify(architecture: Architecture, certificate: Certificate) -> bool:
    """Whether to verify a network that ``verify`` knows: one built for a certificate, or found to hold one."""
    return can_verify(architecture) and (architecture.certified or certificate.holds)


class _Flux(NamedTuple):
    """φ of t, for trained shapes of t and the weights w, with a last axis for them; and its constants."""

    phi: Callable[..., Array]
    L: float = 1.0
    L_prime: float = 1.0
    m: float = 0.0
    box: float = 1.0  # of the weights


def _learned(t: Array, w: Array) -> Array:
    """σ(Σ_j w_j ρ_j) t with the bumps ρ_j = C(4,j) t^{2j}/(1+t²)⁴."""
    p = t**2 / (1 + t**2)
    z = sum(math.comb(4, j) * p**j * (1 - p) ** (4 - j) * w[..., j] for j in range(5))
    return t * (1 + z / np.sqrt(1 + z**2)) / 2


def _weickert(t: Array) -> Array:
    with np.errstate(divide="ignore", over="ignore"):
        return -t * np.expm1(-3.31488 / t**8)


EPSILON = 0.01  # of the regularised TV flux
RISE = 288 * 0.16 * 0.216 / 2  # A/2, A = 48 · 6 (2/5)² (3/5)³
PEAK = 3 * RISE - math.sqrt(9 * RISE**2 - 1)  # where σ(z) + A σ'(z) has its maximum: 1 + z² = 6 RISE z
STEEPEST = (1 + PEAK / math.sqrt(1 + PEAK**2)) / 2 + RISE / (1 + PEAK**2) ** 1.5

_FLUXES = {
    "charbonnier": _Flux(lambda t: t / np.sqrt(1 + t**2)),
    "exponential_perona_malik": _Flux(lambda t: t * np.exp(-(t**2) / 2), m=2 * math.exp(-1.5)),
    "learned": _Flux(_learned, L_prime=STEEPEST, m=STEEPEST - 1, box=6.0),
    "linear": _Flux(lambda t: t),
    "perona_malik": _Flux(lambda t: t / (1 + t**2), m=1 / 8),
    "relu": _Flux(lambda t: np.maximum(t, 0)),
    "tv_regularised": _Flux(lambda s: s / np.sqrt(s**2 + EPSILON**2), L=1 / EPSILON, L_prime=1 / EPSILON),
    "weickert": _Flux(_weickert, m=8 * math.exp(-7 / 8) - 1),
}


def _flux(name: str) -> _Flux:
    """The flux of this name; one that is not written here a second time is taken as it is registered."""
    if name in _FLUXES:
        return _FLUXES[name]
    own = fluxes.get(name)
    if not own.nonnegative:
        raise InvalidParameterError("flux of the network to verify", name, "one with diffusivities g ≥ 0")

    def phi(*arguments: Array) -> Array:
        values: Array = own.phi(*map(torch.from_numpy, arguments)).numpy()
        return values

    return _Flux(phi, own.L, own.L_prime, own.m, own.box)


class _Block:
    """A(u) = KᵀΦ(Ku) by a dense matrix, with the other parameters of a block."""

    def __init__(
        self, parameters: Mapping[str, Array], flux: _Flux, certified: bool, normalised: bool, length: int
    ) -> None:
        self.parameters, self.flux, self.certified = parameters, flux, certified
        W = parameters["K"]
        self.bound = max(_norm_bound(W), float(np.finfo(np.float32).eps)) * (1 + SAFETY)  # ≥ ‖K‖
        if certified and normalised and W.any():
            W = W / self.bound
        self.K = dense_matrix(W, length)
        self.norm_squared = _largest_singular_value(self.K) ** 2
        lam = _positive(parameters["lam"]) if "lam" in parameters else np.ones(len(W))
        rows = len(self.K) // len(W)  # of every filter
        self.lam = np.repeat(lam, rows)
        self.shape = [np.repeat(flux.box * np.tanh(parameters["w"]), rows, axis=0)] if "w" in parameters else []
        b1, b2 = (np.atleast_1d(parameters.get(name, np.zeros(1))) for name in ("b1", "b2"))
        self.b1, self.b2 = np.repeat(b1, rows) if b1.size > 1 else b1, np.repeat(b2, length) if b2.size > 1 else b2
        # root mean squares over the positions of what they add, ‖b₁‖√(N'/N) and ‖b₂‖
        self.size_of_b1 = float(np.linalg.norm(b1) * math.sqrt(rows / length))
        self.size_of_b2 = float(np.linalg.norm(b2))

    def __call__(self, u: Array) -> Array:
        return self.K.T @ (self.lam * self.flux.phi((self.K @ u + self.b1) / self.lam, *self.shape))

    def drift(self, tau: float) -> float:
        """δ of the explicit step of size τ, without b₂."""
        return tau * self.flux.L * math.sqrt(self.norm_squared) * self.size_of_b1

    def lipschitz(self, tau: float) -> float:
        """That of the explicit step of size τ."""
        step = tau * self.norm_squared
        return max(1 + step * self.flux.m, abs(1 - step * self.flux.L_prime))

    def below(self, name: str, limit: float) -> float:
        """A positive parameter, below the limit in certified networks."""
        theta = self.parameters[name]
        return float(limit * (1 - SAFETY) / (1 + np.exp(-theta)) if self.certified else _positive(theta))

    def above(self, name: str, limit: float) -> float:
        """A positive parameter, above the limit in certified networks."""
        return float(_positive(self.parameters[name]) + (limit * (1 + SAFETY) if self.certified else 0))


class _Dense:
    """What a checkpoint computes, by the scheme of its name."""

    tolerances = TOLERANCES
    by_slopes = False  # whether the bound of norms depends on the slopes of the flux
    normalised = True  # whether certified networks have filters of norm 1

    def __init__(self, blocks: list[_Block], lift: Array, projection: Array) -> None:
        self.blocks, self.lift, self.projection = blocks, lift, projection

    @staticmethod
    def read(path: Path | str, length: int, seed: int | None = None) -> "_Dense":
        arrays, text = files.read_safetensors(path)
        header = json.loads(text or "")
        architecture, index = header["architecture"], 0 if seed is None else header["seeds"].index(seed)
        if architecture["name"] not in _SCHEMES:
            expected = f"one of {', '.join(sorted(_SCHEMES))}, whose certificates are verified by dense matrices"
            raise InvalidParameterError("network to verify", architecture["name"], expected)
        if architecture.get("steps", "positive") != "positive":
            raise InvalidParameterError("steps", architecture["steps"], "positive, for a verification")
        certified, flux = architecture["certified"], _flux(architecture["flux"])
        parameters: dict[str, dict[str, Array]] = {}
        for key, array in arrays.items():  # such as blocks.0.parametrizations.K.original, or blocks.0.K
            where, _, name = key.removesuffix(".original").replace("parametrizations.", "").rpartition(".")
            parameters.setdefault(where, {})[name] = array[index].astype(np.float64)
        outside = parameters.pop("", {})
        scheme = _SCHEMES[architecture["name"]]
        each = [parameters[f"blocks.{i}"] for i in range(len(parameters))]
        distinct = [_Block(own, flux, certified, scheme.normalised, length) for own in each]
        blocks = [distinct[i % len(distinct)] for i in range(architecture["blocks"])]
        ends = [outside.get(name, np.ones(1)) for name in ("lift", "projection")]
        if certified and outside:
            ends = [v / (np.linalg.norm(v) * (1 + SAFETY)) for v in ends]
        return scheme(blocks, *ends)

    def __call__(self, f: Array) -> Array:
        return self.projection @ self.run(np.kron(self.lift, f).astype(np.float64)).reshape(len(self.lift), -1)

    def bound(self) -> float:
        """c with rms(output) ≤ c rms(f) + drift; infinite where the theorem says nothing."""
        return self.ends() * self.factor()

    def drift(self) -> float:
        """What biases add to root mean squares."""
        return float(np.linalg.norm(self.projection)) * self.added()

    def lipschitz(self) -> float:
        """c with ‖output - output'‖₂ ≤ c ‖f - f'‖₂; infinite where none is known."""
        return self.ends() * self.expansion()

    def ends(self) -> float:
        """‖lift‖‖projection‖, which is 1 where the state has one channel."""
        return float(np.linalg.norm(self.lift) * np.linalg.norm(self.projection))

    def run(self, u: Array) -> Array:
        raise NotImplementedError

    def factor(self) -> float:
        """That of the steps; infinite where the theorem says nothing."""
        raise NotImplementedError

    def added(self) -> float:
        """What the biases of the steps add, where the theorem says something."""
        raise NotImplementedError

    def expansion(self) -> float:
        """Lipschitz bound of the steps; infinite where none is known."""
        raise NotImplementedError

    def margins(self, A: _Block) -> dict[str, float]:
        """1 - x of every condition x ≤ 1 on a block."""
        raise NotImplementedError


class _Symmetric(_Dense):
    normalised = False

    def run(self, u: Array) -> Array:
        for A in self.blocks:
            u = explicit.step(u, _as_operator(A), self._tau(A)) + A.b2
        return u

    def factor(self) -> float:
        return math.prod(self._factor(A) for A in self.blocks)

    def added(self) -> float:
        beta = 0.0
        for A in self.blocks:
            beta = self._factor(A) * beta + A.drift(self._tau(A)) + A.size_of_b2
        return beta

    def _factor(self, A: _Block) -> float:
        return max(1.0, self._tau(A) * A.flux.L * A.norm_squared - 1)

    def expansion(self) -> float:
        return math.prod(A.lipschitz(self._tau(A)) for A in self.blocks)

    def margins(self, A: _Block) -> dict[str, float]:
        return {"τ ≤ 2/(L‖K‖²)": 1 - self._tau(A) * A.flux.L * A.norm_squared / 2}

    def _tau(self, A: _Block) -> float:
        return A.below("tau", 2 / A.flux.L) / (A.bound**2 if A.certified else 1)


class _DuFortFrankel(_Dense):
    def run(self, u: Array) -> Array:
        previous = u
        for A in self.blocks:
            alpha, rho = self._weights(A)
            tau = rho / (2 * alpha)
            previous, u = u, du_fort_frankel.step(u, previous, _as_operator(A), tau, alpha) + A.b2
        return u

    def factor(self) -> float:
        return 1.0 if all(min(self.margins(A).values()) >= 0 for A in self.blocks) else math.inf

    def added(self) -> float:
        before = beta = 0.0
        for A in self.blocks:  # convex combinations of an explicit step and the state before
            alpha, rho = self._weights(A)
            new, old = 2 * rho / (1 + rho), (1 - rho) / (1 + rho)
            before, beta = beta, new * (beta + A.drift(1 / (2 * alpha))) + old * before + A.size_of_b2
        return beta

    def expansion(self) -> float:
        weights = [self._weights(A) for A in self.blocks]
        slopes = [A.lipschitz(1 / (2 * alpha)) for A, (alpha, _) in zip(self.blocks, weights, strict=True)]
        return _two_steps(slopes, [(rho - 1) / (rho + 1) for _, rho in weights])

    def margins(self, A: _Block) -> dict[str, float]:
        alpha, rho = self._weights(A)
        return {"1/(2α) ≤ 2/(L‖K‖²)": 1 - A.flux.L * A.norm_squared / (4 * alpha), "2τα ≤ 1": 1 - rho}

    def _weights(self, A: _Block) -> tuple[float, float]:
        return A.above("alpha", A.flux.L / 4), A.below("rho", 1.0)


class _Implicit(_Dense):
    by_slopes = True

    def run(self, u: Array) -> Array:
        f = u
        for A in self.blocks:
            u = implicit.relax(u, f, _as_operator(A), self._tau(A)) + A.b2
        return u

    def factor(self) -> float:
        q = 1 - self.margins(self.blocks[0])[CONTRACTION]
        n = len(self.blocks)  # the first iterate is an explicit step
        return math.inf if q >= 1 else 1 + q ** (n + 1) if n > 1 else 1.0

    def added(self) -> float:
        A, n, q = self.blocks[0], len(self.blocks), 1 - self.margins(self.blocks[0])[CONTRACTION]
        delta = A.drift(self._tau(A)) + A.size_of_b2
        root = math.sqrt(self._tau(A) * A.flux.L)
        sigma = min(1.0, root * math.sqrt(A.norm_squared))
        of_solution = root * sigma / (1 + sigma**2) * A.size_of_b1 + A.size_of_b2
        return delta if n == 1 else (1 + q ** (n + 1)) * of_solution + q**n * delta

    def expansion(self) -> float:
        A, q = self.blocks[0], 1 - self.margins(self.blocks[0])[CONTRACTION]
        e = A.lipschitz(self._tau(A))
        for _ in self.blocks[1:]:
            e = 1 + q * e
        return e

    def margins(self, A: _Block) -> dict[str, float]:
        q = self._tau(A) * self._slope(A) * A.norm_squared
        return {CONTRACTION: 1 - q if q < 1 else min(1 - q, -math.ulp(1.0))}

    def _tau(self, A: _Block) -> float:
        return A.below("tau", RATE / self._slope(A))

    def _slope(self, A: _Block) -> float:
        return max(A.flux.L_prime, A.flux.m)


class _SafeguardedFSI(_Symmetric):
    tolerances = ROOTS

    def expansion(self) -> float:
        s = [(2 * k - 1) / (2 * k + 3) for k in range(len(self.blocks))]
        slopes = [A.lipschitz(self._tau(A)) for A in self.blocks]
        return math.inf if max(s) > 0 else _two_steps(slopes, s)

    def run(self, u: Array) -> Array:
        previous = start = u
        for k, A in enumerate(self.blocks):
            alpha, tau = (4 * k + 2) / (2 * k + 3), self._tau(A)
            previous, u = u, safeguarded_fsi.step(u, previous, start, _as_operator(A, tau), tau, alpha)
        return u


class _SafeguardedDuFortFrankel(_Symmetric):
    """Its bounds are those of explicit steps of the size τ = 1/(2α)."""

    normalised = True
    tolerances = ROOTS

    def run(self, u: Array) -> Array:
        previous = start = u
        for A in self.blocks:
            alpha, rho, tau = self._alpha(A), self._rho(A), self._tau(A)
            step = safeguarded_du_fort_frankel.step
            previous, u = u, step(u, previous, start, _as_operator(A, tau), rho * tau, alpha)
        return u

    def expansion(self) -> float:
        rho = [self._rho(A) for A in self.blocks]
        slopes = [A.lipschitz(self._tau(A)) for A in self.blocks]
        return math.inf if max(rho) > 1 else _two_steps(slopes, [(x - 1) / (x + 1) for x in rho])

    def margins(self, A: _Block) -> dict[str, float]:
        return {"1/(2α) ≤ 2/(L‖K‖²)": 1 - A.flux.L * A.norm_squared / (4 * self._alpha(A))}

    def _alpha(self, A: _Block) -> float:
        return A.above("alpha", A.flux.L / 4)

    def _tau(self, A: _Block) -> float:
        return 1 / (2 * self._alpha(A))

    def _rho(self, A: _Block) -> float:
        return float(_positive(A.parameters["rho"]))


_SCHEMES = {
    "du_fort_frankel": _DuFortFrankel,
    "implicit": _Implicit,
    "safeguarded_du_fort_frankel": _SafeguardedDuFortFrankel,
    "safeguarded_fsi": _SafeguardedFSI,
    "symmetric": _Symmetric,
}


def _two_steps(slopes: Sequence[float], s: Sequence[float]) -> float:
    """Lipschitz bound of steps w + s_k (w - u^{k-1}) from those of w, by the triangle inequality."""
    previous = e = 1.0
    for slope, s_k in zip(slopes, s, strict=True):
        previous, e = e, (1 + s_k) * slope * e + abs(s_k) * previous
    return e


def _as_operator(A: _Block, tau: float | None = None) -> Any:
    """Steps of schemes need nothing of their operators but A(u); with τ, b₂ is in the explicit step u - τA(u)."""
    return A if tau is None or not A.b2.any() else lambda u: A(u) - A.b2 / tau


def _positive(theta: Array) -> Array:
    return np.exp(np.clip(theta, -LARGEST, LARGEST))


def _norm_bound(W: Array) -> float:
    """The bound of ‖K‖ that certified filters are divided by, from a discrete Fourier transform."""
    d = W.shape[-1] - 1
    M = max(1, 64 * d)
    symbol = np.moveaxis(np.fft.fft(W, M), -1, 0)
    return float(np.linalg.norm(symbol, 2, axis=(1, 2)).max() / math.sqrt(math.cos(math.pi * d / M)))


def _signals(K: Array, length: int, lift: Array) -> Array:
    """Rough and smooth signals and the one that K amplifies most, in all sizes, as rows."""
    rng = np.random.default_rng(0)
    onto = np.kron(lift[:, None], np.eye(length))
    worst = np.linalg.eigh(onto.T @ K.T @ K @ onto)[1][:, -1]
    rough = rng.standard_normal(length)
    shapes = [shape / np.sqrt(np.mean(shape**2)) for shape in (rough, np.cumsum(rough), worst)]
    return np.stack([scale * shape for scale in SCALES for shape in shapes])
