"""The library of a checkout in a process of its own, which is told what to train, and when: two can be compared.

The process runs this module. It reads questions from its standard input and writes answers to its standard output, a
line of JSON for each.
"""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Checkout:
    """The process. Use it in a ``with`` statement, which ends it.

    Args:
        root: directory of the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.checkouts"],
            cwd=ROOT,  # for these benchmarks
            env=os.environ | {"PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            library, self.commit = self.ask("library")
            if not Path(library).is_relative_to(self.root):
                raise FileNotFoundError(f"{self.root}: got no src/schemenets there")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Checkout":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, what: str, value: Any = None) -> Any:
        """The answer to a question."""
        process: Any = self.process
        print(json.dumps([what, value]), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            raise ChildProcessError(f"the library of {self.root} has ended, see above")
        return json.loads(answer)

    def prepare(self, job: Any) -> dict[str, float | None] | None:
        """Get ready for a :class:`benchmarks.jobs.Job`: memory per seed, or None if this library cannot do it."""
        found: dict[str, float | None] | None = self.ask("prepare", job.arguments())
        return found

    def turn(self, epochs: int) -> float:
        """Seconds that so many epochs of the job take."""
        return float(self.ask("turn", epochs))


def answers() -> None:
    """Answer all questions."""
    import torch

    import schemenets
    from benchmarks import timing
    from benchmarks.jobs import Job
    from schemenets.devices import flushed_subnormals, keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    trainer: Any = None
    with flushed_subnormals():
        for line in sys.stdin:
            what, value = json.loads(line)
            answer: Any = None
            if what == "library":
                answer = schemenets.__file__, timing.commit()
            elif what == "turn":
                answer = timing.turn(trainer._train_epoch)(value)
            else:
                try:
                    job = Job.read(value)
                    trainer = job.trainer()
                    answer = memory(trainer, job)
                except Exception:  # such as a network that this library does not have
                    traceback.print_exc()
            print(json.dumps(answer), flush=True)


def memory(trainer: Any, job: Any) -> dict[str, float | None]:
    """What a forward and backward pass of the network takes in a loop of one's own, and what training takes."""
    import torch

    from benchmarks import timing

    u = torch.from_numpy(job.data()[f"train/{job.task.pair[0]}"][: job.batch]) / 255
    u = u.expand(job.seeds, *u.shape).contiguous()

    def run() -> None:
        trainer.net(u).square().sum().backward()

    found = {
        "peak_mib_per_seed": timing.peak_mib(run),
        "saved_mib_per_seed": timing.saved_mib(run),
        "training_mib_per_seed": timing.peak_mib(trainer._train_epoch),
    }
    trainer.net.zero_grad()
    return {key: None if mib is None else mib / job.seeds for key, mib in found.items()}


if __name__ == "__main__":
    answers()
