"""Attack all seeds of one job with perturbations of growing size, and with random ones of the same sizes."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from schemenets import networks, signals
from schemenets.evaluation import PEAK
from schemenets.metrics import psnr
from schemenets.networks import DenoisingNetwork
from schemenets.stability import certify, guaranteed_psnr, worst_perturbation
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json, _trained, dataset
from schemenets.study.stages._rows import OF_A_RUN, of_run

OUTPUTS = {"attacks": "runs/{experiment}/{method}/{size}/robustness.json"}
RECORD = "attacks"
MEASURED = ["psnr_attacked", "psnr_random", "psnr_guaranteed", "lipschitz_found"]
TABLES = {
    "robustness": [*OF_A_RUN, "status", "signals", "lipschitz_bound", "perturbation", "noisy_psnr", *MEASURED],
}


def specs(study: Study) -> dict[str, Json]:
    """The jobs of the attacked experiment, or of some of its methods, or of one size."""
    own = dict(study.settings["robustness"])
    experiment, methods, size = own.pop("experiment"), own.pop("methods", None), own.pop("size", None)
    return {
        name: {**spec, **own}
        for name, spec in study.denoisers.items()
        if spec["experiment"] == experiment
        and (methods is None or spec["method"] in methods)
        and size in (None, spec["size"])
    }


def inputs(spec: Json) -> Json:
    """The trained networks, and the test signals that are perturbed."""
    return {"trained": ("train", spec["job"]), "data": dataset(spec["dataset"])}


def run(job: Job) -> None:
    """Write PSNR and quotients for every size; the first test signals of the job's data set are perturbed.

    A size is the root mean square of a perturbation in grey values, the same for every signal; 0 comes first. A
    diverged seed is not attacked: its values are null.
    """
    spec = job.spec
    arrays = signals.read(job.results.dataset(spec["dataset"]))
    noisy, clean = (arrays[f"test/{part}"][: spec["signals"]] for part in ("noisy", "clean"))
    trained = _trained.read(job.results, job.name)
    seeds = list(trained.networks)
    bounds = [certify(net).bounds["lipschitz_bound"] for net in trained.networks.values()]
    sound = [seeds.index(seed) for seed in trained.sound]
    sizes = [0, *spec["sizes"]]
    measured = np.full((len(sizes), 3, len(seeds), len(noisy)), np.nan)
    if sound:
        stacked = networks.stack(list(trained.sound.values()))
        measured[:, :, sound] = list(_measured(stacked, noisy, clean, sizes, spec["starts"], spec["steps"]))
    result = {
        "job": job.name,
        "seeds": seeds,
        "status": trained.status,
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
    }
    job.write_record(result)


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run under perturbations of every size."""
    return {
        "robustness": [
            {
                **of_run(job, seed),
                "status": record["status"][str(seed)],
                "signals": record["signals"],
                "lipschitz_bound": record["lipschitz_bound"][index],
                "perturbation": float(entry["size"]),
                "noisy_psnr": entry["noisy_psnr"],
                **{key: entry[key][index] for key in MEASURED},
            }
            for job, record in records.items()
            for index, seed in enumerate(record["seeds"])
            for entry in record["sizes"]
        ]
    }


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
    """Numbers for JSON: None unless finite."""
    return [float(value) if math.isfinite(value) else None for value in values]
