"""Fixed points: the rates are those of the weights, and the iterations keep to them."""

from collections.abc import Iterator

from schemenets import files
from schemenets.stability import certify
from schemenets.study.audit._findings import Audited, Finding, disagreement
from schemenets.study.measurements.fixed_points import allowed_iterations
from schemenets.study.stages import Job, _trained


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Certificates and rates of all networks, and how many iterations these allow."""
    path, expected = job.output("fixed_points"), []
    record = files.read_json(path)
    tolerances = [step["tolerance"] for entry in record["networks"][:1] for step in entry["steps"]]
    for spec in job.spec["networks"]:
        for seed, network in _trained.read(job.results, spec["job"]).networks.items():
            certificate = certify(network)
            margin = certificate.blocks[0].step_margin
            rate = None if margin is None else 1 - margin
            allowed = [None if rate is None else allowed_iterations(tolerance, rate) for tolerance in tolerances]
            steps = [
                {"tolerance": tolerance, "allowed_iterations": n}
                for tolerance, n in zip(tolerances, allowed, strict=True)
            ]
            named = {"job": spec["job"], "seed": seed, "certified": certificate.holds, "rate": rate, "steps": steps}
            expected.append(named)
    yield from disagreement(path, record, {"networks": expected}, "the weights say")
    for entry in record["networks"]:
        for step in entry["steps"]:
            taken, allowed = step["iterations"], step["allowed_iterations"]
            if allowed is not None and allowed <= entry["limit"] and (taken is None or taken > allowed):
                what = f"{entry['job']}/seed-{entry['seed']}, tolerance {step['tolerance']:g}"
                yield Finding(path, f"{what}: got {taken} iterations, expected at most {allowed}, as its rate allows")
