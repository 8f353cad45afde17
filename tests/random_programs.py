"""Programs of random steps, with random inputs and operands."""

import math
from random import Random

import torch

from schemenets import fluxes
from schemenets.kernels.program import Numbers, Recorder
from schemenets.multigrid import Problem

FLUX, TAPS = "perona_malik", 3  # of all steps, as each other one would have to be compiled
STEPS = (
    *("BLOCK", "MIX", "MERGE", "UPSAMPLE", "ACTIVATE", "POOL", "EXTEND"),
    *("RESTRICT", "PROLONG", "RESIDUAL", "SWEEP", "SAFEGUARD"),
)


def random_program(names, seed):
    """Steps of these names one after the other, each on states that earlier ones have left, or on the inputs."""
    shapes = {}
    _Writer(Recorder({}, TAPS), shapes, Random(seed)).write(names)  # which tells the shapes of operands
    return _Writer(Recorder(shapes, TAPS), shapes, Random(seed)).write(names), shapes


def random_tensors(program, shapes, seeds, batch, dtype, seed):
    """Inputs and operands that require gradients."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*seeds, *shape, generator=generator, dtype=torch.float64)

    pieces = [0.4 * normal(math.prod(shape)) for shape in shapes.values()]
    pieces = [piece.exp() if name.startswith("positive") else piece for name, piece in zip(shapes, pieces, strict=True)]
    given = [normal(batch, state.channels * state.N) for state in program.inputs]
    return [x.to(dtype).requires_grad_() for x in (*given, torch.cat([normal(0), *pieces], -1))]


class _Writer:
    """Draws states and numbers for the steps that it records."""

    def __init__(self, do, shapes, random):
        self.do, self.shapes, self.random, self.used = do, shapes, random, []
        N = random.randint(TAPS, 30)
        self.inputs = [do.state(random.randint(1, 3), N) for _ in range(random.randint(1, 2))]
        self.states = [*self.inputs]

    def write(self, names):
        for name in names:
            self.states.append(getattr(self, name.lower())())
        return self.do.program(self.inputs, self.states[-1])

    def number(self, *shape, kind="any"):
        """An operand of this shape, with values of any sign or positive ones."""
        name = f"{kind} {len(self.used)}"
        self.used.append(name)
        self.shapes.setdefault(name, shape)
        return self.do.numbers.get(name, Numbers(0, shape))

    def perhaps(self, *shape, kind="any"):
        return self.number(*shape, kind=kind) if self.random.random() < 0.7 else None

    def given(self, **numbers):
        return {name: numbers[name] for name in numbers if numbers[name] is not None}

    def state(self, least=1):
        """A recent state with so many positions at least, made longer if there is none."""
        fitting = [state for state in self.states[-4:] if least <= state.N]
        return self.random.choice(fitting) if fitting else self.do.extend(self.with_channels(self.states[-1], 1), least)

    def with_channels(self, state, channels):
        """The state itself, or what becomes of it when its channels are mixed."""
        if state.channels == channels:
            return state
        return self.do.mix(state, self.number(channels, state.channels))

    def single(self, least=1):
        return self.with_channels(self.state(least), 1)

    def like(self, state):
        """A state of this shape, which may be the same."""
        fitting = [each for each in self.states if each[1:3] == state[1:3]]
        if fitting and self.random.random() < 0.5:
            return self.random.choice(fitting)
        return self.do.mix(state, self.number(state.channels, state.channels))

    def grid(self, N):
        problem = Problem(tau=self.random.uniform(0.2, 2), flux=FLUX, contrast=0.6, order=self.random.randint(1, 2))
        if problem.order == 1 and self.random.random() < 0.5:
            object.__setattr__(problem, "screened", False)  # refused for solving, but residuals and sweeps exist
        return problem.on(N, self.random.uniform(0.8, 1.5))

    def block(self):
        return self.of_block(self.single(TAPS), 1)

    def wide_block(self):
        u = self.state(TAPS)
        return self.of_block(u, self.random.randint(1 if u.channels > 1 else 2, 5))

    def of_block(self, u, D):
        F = self.random.randint(1, 6)
        weights = {"W1": self.number(F, u.channels, TAPS), "W2": self.number(F, D, TAPS)}
        weights |= self.given(b1=self.perhaps(F), lam=self.perhaps(F, kind="positive"), b2=self.perhaps(D))
        onto = []
        for _ in range(self.random.randint(0, 2)):
            v = self.like(self.with_channels(u, D))
            onto.append((self.random.choice([None, self.number(), self.do.constant(self.random.uniform(-2, 2))]), v))
        return self.do.block(u, weights, fluxes.get(FLUX), onto)

    def mix(self):
        u, D = self.state(), self.random.randint(1, 9)
        return self.do.mix(u, self.number(D, u.channels), self.perhaps(D))

    def merge(self):
        u = self.state()
        return self.do.merge(u, self.number(u.channels, TAPS))

    def upsample(self):
        u, D = self.state(), self.random.randint(1, 3)
        y = self.do.state(D, 2 * u.N)
        return self.do.upsample(u, self.number(u.channels, D, 2), self.number(D), y)

    def activate(self):
        u = self.state()
        weights = self.given(lam=self.perhaps(u.channels, kind="positive"))
        return self.do.activate(u, weights, fluxes.get(FLUX))

    def pool(self):
        u = self.state(2)
        return self.do.pool(u if u.N % 2 == 0 else self.do.extend(self.with_channels(u, 1), u.N - 1))  # shorter

    def extend(self):
        """To any length, or beside another channel."""
        u = self.single()
        if self.random.random() < 0.5:
            return self.do.extend(u, self.random.randint(1, u.N + 5))
        both = self.do.state(2, u.N)
        self.do.extend(u, u.N, both.part(0, 1))
        self.do.extend(self.like(u), u.N, both.part(1, 1))
        return both

    def restrict(self):
        return self.do.restrict(self.single(2), self.number(4), self.random.randint(0, 1))

    def prolong(self):
        u, shift = self.single(), self.random.randint(0, 1)
        N = 2 * u.N + self.random.randint(0, 1)
        start = self.random.choice([None, self.like(u)])
        onto = self.random.choice([None, self.do.extend(u, N)])
        return self.do.prolong(u, self.number(4), self.number(), onto, start, shift, N=N)

    def residual(self):
        x = self.single()
        return self.do.residual(
            x, self.random.choice([None, self.like(x)]), self.grid(x.N), self.random.choice([1, -1])
        )

    def sweep(self):
        x, F = self.single(), self.random.randint(0, 3)
        W = self.number(F, TAPS) if F else None
        lam = self.perhaps(F, kind="positive") if F else None
        b, omega = self.like(x), self.number(kind="positive")
        return self.do.sweep(x, b, self.grid(x.N), omega, W, lam, fluxes.get(FLUX))

    def safeguard(self):
        w = self.state()
        s_k = self.random.choice([self.number(kind="positive"), self.do.constant(0.7), self.do.constant(-1 / 3)])
        return self.do.safeguard(w, self.like(w), self.like(w), s_k)
