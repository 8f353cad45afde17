"""Trained jobs, as the stage ``train`` leaves them."""

from schemenets import checkpoints, files


def write(results, job, nets, diverged=(), **record):
    """Record and weights of a job whose seeds ended with these networks; those in ``diverged`` have diverged."""
    path = results.file("train", job, "weights")
    checkpoints.save_all(nets, path)
    runs = [{"seed": seed, "status": "diverged" if seed in diverged else "ok"} for seed in nets]
    content = {"job": job, "runs": runs, "weights_sha256": files.sha256(path), **record}
    files.write_json(results.file("train", job, "record"), content)
