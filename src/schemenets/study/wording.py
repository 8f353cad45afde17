"""How figures and report name things and write numbers."""

import math
import re
from collections.abc import Callable, Iterable

NAMES = {
    "capacity": "affine signals",
    "charbonnier": "Charbonnier",
    "diffusion": "Perona–Malik diffusion",
    "donoho_johnstone": "Donoho–Johnstone",
    "du_fort_frankel": "Du Fort–Frankel",
    "ecg": "ECG",
    "exponential_perona_malik": "exponential Perona–Malik",
    "fab": "FAB",
    "few": "100 training signals",
    "fsi": "FSI",
    "gaussian": "Gaussian",
    "perona_malik": "Perona–Malik",
    "perona_malik_nonconvex": "Perona–Malik, nonconvex",
    "poisson": "Poisson",
    "relu": "ReLU",
    "resnet": "ResNet",
    "safeguarded_du_fort_frankel": "safeguarded Du Fort–Frankel",
    "safeguarded_fsi": "safeguarded FSI",
    "savitzky_golay": "Savitzky–Golay",
    "scanlines": "scan lines",
    "screened_poisson": "screened Poisson",
    "total_variation": "TV",
    "tv_regularised": "regularised TV",
    "weickert": "Weickert",
}
SOLVERS = {  # singular and plural
    "cycle": ("{} learned cycle", "{} learned cycles"),
    "multigrid": ("multigrid U-net, {} cycle", "multigrid U-net, {} cycles"),
    "unet": ("U-net, {} channel", "U-net, {} channels"),
}
VARIANTS = {  # of networks that solve
    "jacobi": "no learned filters",
    "fixed": "textbook transfers",
    "concatenated": "concatenating skip",
    "restricted": "coarse side without FAS term",
    "half": "trained half as long",
}
SOLVE = "solve_"  # prefix of experiments whose networks learn to solve a problem
NOTHING = "–"
LARGE = 1e5  # from here on, decimals say nothing
NOT_MEASURED = "Not measured in this tier."


def label(name: str) -> str:
    """Readable name of a method, flux, network or signal family.

    >>> label("resnet-perona_malik")
    'ResNet, Perona–Malik'
    >>> label("cycle-3"), label("cycle-1-fixed")
    ('3 learned cycles', '1 learned cycle, textbook transfers')
    """
    if solver := re.fullmatch(rf"({'|'.join(SOLVERS)})-(\d+)(?:-(\w+))?", name):
        kind, count, variant = solver.groups()
        text = SOLVERS[kind][count != "1"].format(count)
        return f"{text}, {VARIANTS.get(variant, variant)}" if variant else text
    return ", ".join(NAMES.get(part, part.replace("_", " ")) for part in name.split("-"))


def size_label(size: str) -> str:
    """Readable name of a size: ``budget-240`` means at most 240 parameters, ``blocks-4`` 4 blocks."""
    kind, _, count = size.rpartition("-")
    return f"≤ {count} parameters" if kind == "budget" else f"{count} {kind}"


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with this many decimals and a true minus sign; a dash for none.

    >>> fixed(-0.125, 1), fixed(None)
    ('−0.1', '–')
    """
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign; a dash for none.

    >>> signed(0.125, 1), signed(float("-inf"))
    ('+0.1', '−∞')
    """
    if value is None or math.isnan(value):
        return NOTHING
    rounded = round(value, digits) + 0.0  # turns −0 into 0
    return f"{rounded:+.{digits}f}".replace("-", "−").replace("inf", "∞")


def short(value: float | None, digits: int = 3) -> str:
    """A number with this many significant digits; a dash for none."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}g}".replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval in brackets, infinite where only one end is known; empty for none. Large ends have three digits.

    >>> interval(-0.5, 1, 1), interval(None, 1, 1), interval(None, None), interval(1e6, 77394548)
    ('[−0.5, 1.0]', '[−∞, 1.0]', '', '[1e+06, 7.74e+07]')
    """
    ends = [
        None if end is None or math.isnan(end) else short(end) if abs(end) >= LARGE else fixed(end, digits)
        for end in (low, high)
    ]
    return f"[{ends[0] or '−∞'}, {ends[1] or '∞'}]" if any(ends) else ""


def sentence(text: str) -> str:
    """A title with a full stop, unless it ends with a punctuation mark.

    >>> sentence("Growth"), sentence("Who grows?")
    ('Growth.', 'Who grows?')
    """
    return text if text.endswith((".", "?", "!")) else f"{text}."


def ranged(values: Iterable[float], write: Callable[[float], str]) -> str:
    """The least and the largest value; one number if both are written alike.

    >>> ranged([0.5, 2, 1], short), ranged([0.1, 0.1001], fixed)
    ('0.5 to 2', '0.10')
    """
    numbers = list(values)
    low, high = write(min(numbers)), write(max(numbers))
    return low if low == high else f"{low} to {high}"


def listed(words: list[str]) -> str:
    """Words joined as in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
