"""Operators against dense matrices that are assembled here, entry by entry, from their definitions."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemenets import operators
from schemenets.errors import InvalidParameterError
from schemenets.operators import BOUNDARIES, Conv1dOperator, derivative, norm_bound, prolongation, restriction

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=40)


def dense(W: np.ndarray, N: int, boundary: str) -> np.ndarray:
    """K from (Ku)_f[n] = Σ_c Σ_i W[f, c, i] u_c[n + i - left], with u continued as ``boundary`` says."""
    F, C, k = W.shape
    left, rows = {
        "valid": (0, N - k + 1),
        "zero": ((k - 1) // 2, N),
        "circular": ((k - 1) // 2, N),
        "reflect": ((k - 1) // 2, N),
        "replicate": ((k - 1) // 2, N),
        "full": (k - 1, N + k - 1),
    }[boundary]
    K = np.zeros((F, rows, C, N))
    for n in range(rows):
        for i in range(k):
            x = n + i - left
            if boundary == "circular":
                x %= N
            elif boundary == "replicate":
                x = min(max(x, 0), N - 1)
            elif boundary == "reflect":  # about the end points, which are not repeated
                x = abs(x) if x < N else 2 * (N - 1) - x
            if 0 <= x < N:
                K[:, n, :, x] += W[:, :, i]
    return K.reshape(F * rows, C * N)


def kernel(seed: int, F: int, C: int, k: int) -> np.ndarray:
    """Random kernels of many characters: dense, sparse, oscillating, constant, badly scaled."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((F, C, k))
    style = seed % 5
    if style == 1:
        W *= rng.random((F, C, k)) < 0.4
    elif style == 2:
        W = np.abs(W) * (-1.0) ** np.arange(k)
    elif style == 3:
        W = np.ones((F, C, k))
    elif style == 4:
        W *= 10.0 ** rng.integers(-6, 6, (F, 1, 1))
    return W


def sigma_max(K: np.ndarray) -> float:
    return float(np.linalg.norm(K, 2))


shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@REPEATABLE
@given(seed=st.integers(0, 10**6), shape=shapes, N=st.integers(7, 16))
def test_operator_equals_its_definition_and_adjoint_its_transpose(boundary, seed, shape, N):
    W = kernel(seed, *shape)
    K = Conv1dOperator(torch.from_numpy(W), boundary)
    reference = dense(W, N, boundary)
    np.testing.assert_allclose(K.as_matrix(N), reference, rtol=1e-13, atol=0)
    rng = np.random.default_rng(seed)
    u = torch.from_numpy(rng.standard_normal((2, 3, shape[1], N)))
    Ku = K.apply(u)
    v = torch.from_numpy(rng.standard_normal(Ku.shape))
    scale = sigma_max(reference) * 10 + 1e-300
    np.testing.assert_allclose(Ku.flatten(-2) / scale, u.flatten(-2).numpy() @ reference.T / scale, atol=1e-14)
    np.testing.assert_allclose(K.adjoint(v).flatten(-2) / scale, v.flatten(-2).numpy() @ reference / scale, atol=1e-14)
    assert K.adjoint(v).shape == u.shape
    assert abs((Ku * v).sum() - (u * K.adjoint(v)).sum()) <= 1e-13 * scale * u.norm() * v.norm()


def test_circular_kernel_may_be_longer_than_the_signal():
    W = kernel(0, 2, 2, 7)
    K = Conv1dOperator(torch.from_numpy(W), "circular")
    np.testing.assert_allclose(K.as_matrix(3), dense(W, 3, "circular"), rtol=1e-13)
    assert K.norm_bound(3).item() == pytest.approx(sigma_max(dense(W, 3, "circular")), rel=1e-12)


@pytest.mark.parametrize(("N", "norm"), [(8, 2.0), (9, 2 * math.cos(math.pi / 18))])
@pytest.mark.parametrize("taps", [[[[-1.0, 1.0]]], [[[1.0, -1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, -1.0]]]])
def test_circular_norm_of_differences_is_that_of_the_highest_frequency(taps, N, norm):
    W = np.array(taps)
    assert sigma_max(dense(W, N, "circular")) == pytest.approx(norm, rel=1e-12)
    assert norm_bound(torch.from_numpy(W), N).item() == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@REPEATABLE
@given(seed=st.integers(0, 10**6), shape=shapes, N=st.integers(7, 24))
def test_norm_bound_is_a_bound(boundary, seed, shape, N):
    W = kernel(seed, *shape)
    K = Conv1dOperator(torch.from_numpy(W), boundary)
    norm = sigma_max(dense(W, N, boundary))
    assert norm <= K.norm_bound().item() * (1 + 1e-12)
    if boundary == "circular":
        assert K.norm_bound(N).item() == pytest.approx(norm, rel=1e-10)


@pytest.mark.parametrize("shape", [(1, 1, 5), (8, 1, 5), (3, 4, 4), (1, 3, 6)])
def test_norm_bound_is_within_one_in_a_thousand_of_the_symbol(shape):
    W = kernel(10, *shape)
    omega = np.linspace(0, np.pi, 20001)
    symbol = np.einsum("fci,iw->wfc", W, np.exp(-1j * np.outer(np.arange(shape[-1]), omega)))
    supremum = np.linalg.norm(symbol, 2, axis=(1, 2)).max()
    bound = norm_bound(torch.from_numpy(W)).item()
    assert supremum * (1 - 1e-9) <= bound <= supremum * 1.001


def test_long_signals_come_close_to_the_bound():
    """The bound is not only valid but needed: valid convolution of a long signal nearly attains it."""
    W = kernel(5, 4, 2, 5)
    norm = sigma_max(dense(W, 200, "valid"))
    assert 0.995 < norm / norm_bound(torch.from_numpy(W)).item() <= 1


def test_a_kernel_made_for_the_gap_between_frequencies():
    """This symbol peaks midway between two of the M grid frequencies: their maximum alone is no bound."""
    d = 4
    M = 64 * d
    W = np.cos(2 * np.pi * 20.5 / M * np.arange(d + 1))[None, None]
    grid = np.abs(np.fft.fft(W[0, 0], M)).max()
    norm = sigma_max(dense(W, 1000, "full"))
    bound = norm_bound(torch.from_numpy(W)).item()
    assert grid < norm <= bound
    assert bound == pytest.approx(grid / math.sqrt(math.cos(math.pi * d / M)), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 1, 4), (2, 3, 4), (1, 2, 3)])
def test_norm_bound_gradient(shape):
    W = torch.from_numpy(np.random.default_rng(1).standard_normal(shape)).requires_grad_()
    assert torch.autograd.gradcheck(norm_bound, (W,))
    assert torch.autograd.gradcheck(lambda W: norm_bound(W, 11), (W,))


@pytest.mark.parametrize("shape", [(4, 1, 5), (3, 2, 5)])
def test_norm_bound_of_stacked_kernels_is_that_of_each(shape):
    W = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 3, *shape)))
    each = torch.stack([torch.stack([norm_bound(w) for w in row]) for row in W])
    torch.testing.assert_close(norm_bound(W), each, rtol=1e-13, atol=0)
    torch.testing.assert_close(torch.vmap(torch.vmap(norm_bound))(W), each, rtol=1e-13, atol=0)


def test_reshaped_kernel_norm_is_no_bound():
    """Common spectral-norm layers normalise the kernel as an F × Ck matrix: ‖K‖ can be √k times that."""
    k = 9
    W = np.ones((1, 1, k))
    reshaped = sigma_max(W.reshape(1, k))
    assert sigma_max(dense(W, 400, "valid")) > 2.99 * reshaped
    assert math.sqrt(k) * reshaped <= norm_bound(torch.from_numpy(W)).item()


@pytest.mark.parametrize("k", [3, 5, 9])
def test_symbol_norm_is_no_bound_under_padding_that_repeats_values(k):
    """A pure shift has |K̂| = 1, but reads values again: reflected ones twice, a replicated one 1 + p times.

    With k = 5 taps, hence p = 2, replicating exceeds the symbol by √3; it grows without bound in k.
    """
    shift, p = np.eye(1, k)[None], k // 2
    symbol = norm_bound(torch.from_numpy(shift)).item()
    assert symbol < 1.001
    assert sigma_max(dense(shift, 64, "reflect")) == pytest.approx(math.sqrt(2))
    assert sigma_max(dense(shift, 64, "replicate")) == pytest.approx(math.sqrt(1 + p))


@pytest.mark.parametrize("N", [2, 3, 9])
@pytest.mark.parametrize("h", [1.0, 0.25])
def test_first_derivative_gives_the_reflecting_laplacian(N, h):
    K = derivative(N, (1.0,), h)
    laplacian = (np.diag(np.full(N, 2.0)) - np.eye(N, k=1) - np.eye(N, k=-1)) / h**2
    laplacian[0, 0] = laplacian[-1, -1] = 1 / h**2
    np.testing.assert_allclose((K.T @ K).toarray(), laplacian, atol=1e-12)
    valid = Conv1dOperator(torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64)).as_matrix(N).numpy() / h
    np.testing.assert_allclose(laplacian, valid.T @ valid, atol=1e-12)


@pytest.mark.parametrize("alpha", [(1.0,), (0, 1.0), (0, 0, 1.0), (0.5, -2.0), (1.0, 0.3, 0.2)])
def test_derivative_is_the_stencil_on_the_mirrored_signal(alpha):
    N, h = 12, 0.5
    stencils = {1: {0: -1, 1: 1}, 2: {-1: 1, 0: -2, 1: 1}, 3: {-1: -1, 0: 3, 1: -3, 2: 1}}
    u = np.random.default_rng(3).standard_normal(N)
    mirrored = np.concatenate([u[::-1], u, u[::-1]])
    expected = np.zeros(N)
    for m, a in enumerate(alpha, start=1):
        for offset, w in stencils[m].items():
            expected += a * w / h**m * mirrored[N + offset : 2 * N + offset]
    K = derivative(N, alpha, h)
    np.testing.assert_allclose(K @ u, expected, atol=1e-12)
    np.testing.assert_allclose(K @ np.ones(N), 0, atol=1e-12)


def test_derivatives_of_a_cosine_converge():
    """First-order accurate in h for odd orders (one-sided), second-order for ∂xx, up to the ends."""
    exact = {1: lambda x: -np.sin(x), 2: lambda x: -np.cos(x), 3: lambda x: np.sin(x)}
    for m, least in {1: 0.9, 2: 1.9, 3: 0.9}.items():
        errors = []
        for N in (100, 200):
            h = np.pi / N
            x = (np.arange(N) + 0.5) * h  # cos has zero slope at 0 and π, so mirroring is exact
            alpha = [0.0] * (m - 1) + [1.0]
            errors.append(np.abs(derivative(N, alpha, h) @ np.cos(x) - exact[m](x)).max())
        assert np.log2(errors[0] / errors[1]) > least


def test_poisson_is_the_matrix_of_the_textbook():
    expected = scipy.linalg.toeplitz([2.0, -1.0, 0, 0, 0]) / 0.25
    np.testing.assert_allclose(operators.poisson(5, 0.5).toarray(), expected)


@pytest.mark.parametrize(("ends", "N"), [("dirichlet", 31), ("reflecting", 32)])
def test_transfers(ends, N):
    R, P = restriction(N, ends).toarray(), prolongation(N, ends).toarray()
    np.testing.assert_array_equal(P, 2 * R.T)
    np.testing.assert_allclose(R.sum(1), 1)
    x = np.arange(1, N + 1, dtype=float)
    inner = slice(2, -2)
    if ends == "dirichlet":
        coarse = np.random.default_rng(4).standard_normal(N // 2)
        nodes = np.arange(0, N + 2, 2)  # zero at the two points just outside
        np.testing.assert_allclose(P @ coarse, np.interp(x, nodes, [0, *coarse, 0]), atol=1e-12)
        galerkin = R @ operators.poisson(N).toarray() @ P
        np.testing.assert_allclose(galerkin, operators.poisson(N // 2, 2.0).toarray(), atol=1e-12)
    else:
        np.testing.assert_allclose(P.sum(1), 1)
        np.testing.assert_allclose(R.sum(0), 0.5)  # keeps the mean
        np.testing.assert_allclose((P @ (R @ x))[inner], x[inner], atol=0.51)
        np.testing.assert_allclose((P @ x[: N // 2])[inner], (x[inner] + 0.5) / 2, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Conv1dOperator(torch.ones(3)),
        lambda: Conv1dOperator(torch.ones(1, 1, 3), "reflect"),
        lambda: Conv1dOperator(torch.ones(1, 1, 3)).apply(torch.ones(1, 2)),
        lambda: Conv1dOperator(torch.ones(1, 2, 3)).apply(torch.ones(1, 9)),
        lambda: Conv1dOperator(torch.ones(3, 1, 3)).adjoint(torch.ones(1, 9)),
        lambda: Conv1dOperator(torch.ones(1, 1, 0)),
        lambda: Conv1dOperator(torch.tensor([[[1.0, float("nan")]]])),
        lambda: Conv1dOperator(torch.ones(1, 1, 3)).apply(torch.ones(1, 9).double()),
        lambda: Conv1dOperator(torch.ones(1, 1, 3), "full").adjoint(torch.ones(1, 2)),
        lambda: operators.norm_bound(torch.ones(1, 1, 3), length=2.5),
        lambda: operators.norm_bound(torch.ones(1, 1, 3), length=0),
        lambda: operators.poisson(0),
        lambda: operators.poisson(3, -1.0),
        lambda: derivative(4, (float("nan"),)),
        lambda: derivative(1),
        lambda: derivative(4, h=0.0),
        lambda: restriction(8),
        lambda: restriction(7, "reflecting"),
        lambda: restriction(7, "periodic"),
    ],
)
def test_misuse_is_named(call):
    with pytest.raises(InvalidParameterError):
        call()
