"""Attack all seeds of one job by perturbations of growing size, with random ones of the same sizes beside them."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets import files, networks, signals
from schemenets.evaluation import PEAK
from schemenets.metrics import psnr
from schemenets.networks import DenoisingNetwork
from schemenets.stability import certify, guaranteed_psnr, worst_perturbation
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _trained


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``robustness.json`` beside the checkpoints; the first test signals of the job's data set are perturbed.

    A size is the root mean square of a perturbation in grey values, the same for every signal; 0 comes first. A
    diverged seed is not attacked: its values are null.
    """
    stopwatch = Stopwatch()
    trained, dataset = results.job(spec["job"]), results.dataset(spec["dataset"])
    arrays = signals.read(dataset)
    noisy, clean = (arrays[f"test/{part}"][: spec["signals"]] for part in ("noisy", "clean"))
    records, nets = zip(*(_trained.read(trained, seed) for seed in spec["seeds"]), strict=True)
    bounds = [certify(net).bounds["lipschitz_bound"] for net in nets]
    sound = [index for index, record in enumerate(records) if record["status"] == "ok"]
    sizes = [0, *spec["sizes"]]
    measured = np.full((len(sizes), 3, len(nets), len(noisy)), np.nan)
    if sound:
        stacked = networks.stack([nets[index] for index in sound])
        measured[:, :, sound] = list(_measured(stacked, noisy, clean, sizes, spec["starts"], spec["steps"]))
    result = {
        "job": spec["job"],
        "seeds": spec["seeds"],
        "checkpoints_sha256": [record["checkpoint_sha256"] for record in records],
        "signals": len(noisy),
        "lipschitz_bound": bounds,
        "sizes": [
            {
                "size": size,
                # of the noisy signals themselves in their worst case, as if a network did nothing
                "noisy_psnr": float(guaranteed_psnr(psnr(noisy, clean), 1, size).mean()),
                "psnr_attacked": _numbers(attacked.mean(1)),
                "psnr_random": _numbers(random.mean(1)),
                "psnr_guaranteed": _numbers(
                    math.nan if bound is None else guaranteed_psnr(own, bound, size).mean()
                    for own, bound in zip(measured[0, 0], bounds, strict=True)
                ),
                "lipschitz_found": _numbers(quotients.max(1)),
            }
            for size, (attacked, random, quotients) in zip(sizes, measured, strict=True)
        ],
        "provenance": collect(
            stopwatch, spec=spec, source=of_stage("robustness", spec), data={dataset.name: files.sha256(dataset)}
        ),
    }
    files.write_json(trained / "robustness.json", result)


def _measured(
    stacked: DenoisingNetwork, noisy: np.ndarray, clean: np.ndarray, sizes: Sequence[float], starts: int, steps: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """For every size PSNR after an attack and after a random perturbation, and the largest ‖N(f+δ) - N(f)‖ / size.

    The attack starts from the worst perturbation of the size before, so that PSNR falls with the size, and from random
    ones. It runs in single precision; what it has found is measured in double precision, as certificates are.

    Yields:
        Three arrays (seeds, signals), the quotients of size 0 NaN.
    """
    exact = copy.deepcopy(stacked).double()
    f, u = (torch.from_numpy(x) / PEAK for x in (noisy, clean))
    f = f.expand(len(next(stacked.parameters())), *f.shape)
    random = torch.randn(starts, *u.shape, generator=torch.Generator().manual_seed(0))
    random /= torch.linalg.vector_norm(random, dim=-1, keepdim=True)
    plain, worst = _output(exact, f), torch.zeros_like(f)
    for size in sizes:
        radius = size / PEAK * math.sqrt(u.shape[-1])  # ‖δ‖₂ on the scale of the networks
        tried = torch.cat([worst[None], radius * random[1:, None].expand(-1, *f.shape)])
        worst = worst_perturbation(stacked, f, u, radius, tried, steps)
        outputs = [_output(exact, f.double() + delta) for delta in (worst, radius * random[0])]
        moved = [np.linalg.norm(output - plain, axis=-1) for output in outputs]
        quotients = np.maximum(*moved) / (radius or math.nan)
        yield *(psnr(output * PEAK, clean) for output in outputs), quotients


def _output(network: DenoisingNetwork, f: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(f.double()).numpy()


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them: None for those that are not finite."""
    return [float(value) if math.isfinite(value) else None for value in values]
