"""Alters formulas in copies of the package, one at a time, and makes sure that the tests named for each notice.

``mutations.txt`` lists the alterations. Without arguments all of them run, else those with the numbers or texts given:

    python tests/mutations.py [--jobs 2] [--list] [--part 1/4] [7 fsi ...]
"""

import argparse
import logging
import multiprocessing
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, NamedTuple

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "mutations.txt"
FUSED = (
    "kernels/autograd.py",
    "kernels/engine.py",
    "kernels/flux.py",
    "kernels/levels.py",
    "kernels/loops.py",
    "kernels/problems.py",
    "kernels/program.py",
    "kernels/safeguard.py",
    "kernels/simd.py",
    "kernels/vector_math.py",
)  # all other files are tested with the reference kernel
TIMEOUT = 300  # seconds for the tests of one alteration

# Processes fork from one that has imported what takes long, but nothing of the package.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["hypothesis.strategies", "pytest", "scipy.optimize", "torch"])


class Mutation(NamedTuple):
    """One alteration of a file of the package; the file with the tests that notice, and pytest's ``-k`` for them."""

    file: str
    original: str
    altered: str
    tests: str
    expression: str

    def __str__(self) -> str:
        return f"{self.file}: {self.original}  ->  {self.altered}"

    def source(self) -> str:
        """The altered file.

        Raises:
            ValueError: the original text is not exactly once in the file.
        """
        text = (ROOT / "src" / "schemenets" / self.file).read_text(encoding="utf-8")
        if (times := text.count(self.original)) != 1:
            raise ValueError(f"{TABLE.name}: {self.file} has {self.original!r} {times} times instead of once")
        return text.replace(self.original, self.altered)

    @property
    def kernel(self) -> str:
        """Value of SCHEMENETS_KERNEL for the tests."""
        return "fused" if self.file in FUSED else "reference"


class Outcome(NamedTuple):
    """How a run of tests ended: whether all passed, the first that did not, its exception, and what pytest wrote."""

    passed: bool
    test: str
    error: str
    log: str

    def __str__(self) -> str:
        if self.test:
            return f"{self.test.removeprefix('tests/')} ({self.error})"
        return "SURVIVED" if self.passed else f"NO TEST FAILED, NOR DID ALL PASS:\n{self.log}"


def table() -> list[Mutation]:
    """All mutations.

    Raises:
        ValueError: an entry is not a file and one line each with "- ", "+ " and "? ".
    """
    mutations = []
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for entry in "\n".join(lines).strip("\n").split("\n\n"):
        file, *rest = entry.strip("\n").split("\n")
        if [line[:2] for line in rest] != ["- ", "+ ", "? "]:
            raise ValueError(f"{TABLE.name}: instead of a file and lines with '- ', '+ ' and '? ':\n{entry}")
        original, altered, tests = (line[2:] for line in rest)
        mutations.append(Mutation(file, original, altered, *tests.split(" ", 1)))
    return mutations


class FirstFailure:
    """A plugin of pytest that remembers the first test that fails, and with which exception."""

    test = error = ""

    def pytest_exception_interact(self, node: pytest.Item, call: pytest.CallInfo, report: object) -> None:
        if isinstance(report, pytest.TestReport):  # and not an error of the collection, which is none of a test
            self.test, self.error = node.nodeid, call.excinfo.typename


def run_here(copy: str, tests: str, expression: str, kernel: str, result: Connection) -> None:
    """Run tests on this copy of the package, in a process that does nothing else."""
    log = os.open(f"{copy}/log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(ROOT)
    os.environ |= {"PYTHONPATH": copy, "OMP_NUM_THREADS": "1", "SCHEMENETS_KERNEL": kernel}
    os.environ |= {"NUMBA_CACHE_DIR": copy, "NUMBA_OPT": "1"}  # fewer optimisations: compiling takes the longest
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # that of hypothesis would have to be imported first
    # tests/conftest.py builds on this profile; nobody reads the examples that fail, so none is made smaller
    hypothesis.settings.register_profile("mutations", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])
    hypothesis.settings.load_profile("mutations")
    sys.path[:0] = [copy, str(ROOT)]  # the benchmarks are in the root
    import schemenets

    assert schemenets.__file__.startswith(copy), "another copy of the package comes first"
    first = FirstFailure()
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "", "-k", expression]  # slow tests as well
    code = pytest.main([*options, f"tests/{tests}"], plugins=[first])
    result.send((code == pytest.ExitCode.OK, first.test, first.error))


def outcome(directory: str, mutation: Mutation | None, tests: str, expression: str, kernel: str) -> Outcome:
    """Of these tests on a fresh copy of the package with this mutation, if any."""
    copy = Path(mkdtemp(dir=directory))
    shutil.copytree(ROOT / "src" / "schemenets", copy / "schemenets", ignore=shutil.ignore_patterns("__pycache__"))
    if mutation:
        (copy / "schemenets" / mutation.file).write_text(mutation.source(), encoding="utf-8")
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_here, args=(str(copy), tests, expression, kernel, sender))
    process.start()
    sender.close()
    try:
        passed, test, error = receiver.recv() if receiver.poll(TIMEOUT) else (False, "", "")
    except EOFError:
        passed, test, error = False, "", ""
    process.kill()
    process.join()
    return Outcome(passed, test, error, (copy / "log").read_text(encoding="utf-8", errors="replace"))


def outcomes(runs: dict[Any, tuple], jobs: int) -> Iterator[tuple[Any, Outcome]]:
    """The outcome of each run with its key, as they end; ``runs`` are arguments of :func:`outcome`."""
    with TemporaryDirectory() as directory, ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(outcome, directory, *arguments): key for key, arguments in runs.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="show the mutations and run none")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="only every Nth of them, beginning with the Kth")
    parser.add_argument("selected", nargs="*", help="numbers, or parts of what --list shows")
    arguments = parser.parse_args()
    try:
        part, parts = map(int, arguments.part.split("/"))
        if not 1 <= part <= parts:
            raise ValueError
    except ValueError:
        parser.error(f"--part {arguments.part}: allowed: K/N with K from 1 to N")
    chosen = {
        number: mutation
        for number, mutation in enumerate(table(), start=1)
        if number % parts == part % parts
        and (
            not arguments.selected
            or any(text == str(number) or (not text.isdigit() and text in str(mutation)) for text in arguments.selected)
        )
    }
    for number, mutation in chosen.items():
        mutation.source()  # an error now, and not in the middle
        if arguments.list:
            print(f"{number:3} {mutation}")
    if arguments.list:
        return
    # here, so that the processes of the copies, which import this module, have not imported the package
    from schemenets.progress import Progress

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    expressions = defaultdict(list)
    for mutation in chosen.values():
        expressions[mutation.tests, mutation.kernel].append(f"({mutation.expression})")
    unaltered = {
        (tests, kernel): (None, tests, " or ".join(each), kernel) for (tests, kernel), each in expressions.items()
    }
    for (tests, _), result in outcomes(unaltered, arguments.jobs):
        if not result.passed:
            sys.exit(f"without any mutation, {tests} does not pass: {result}\n{result.log}")
    print(f"the tests of {len(chosen)} mutations pass without them", flush=True)

    runs = {number: (m, m.tests, m.expression, m.kernel) for number, m in chosen.items()}
    results, progress = {}, Progress("tests of altered formulas", len(runs), "mutations")
    for number, result in outcomes(runs, arguments.jobs):
        results[number] = result
        print(f"{number:3} {result}", flush=True)
        progress.update(len(results), f"{sum(not each.test for each in results.values())} not caught")
    for number, mutation in chosen.items():
        print(f"\n{number:3} {mutation}\n    {results[number]}")
    if missed := [f"{number:3} {mutation}" for number, mutation in chosen.items() if not results[number].test]:
        sys.exit("\n".join(["\nnot caught:", *missed]))
    print(f"\nall {len(chosen)} mutations are caught")


if __name__ == "__main__":
    main()
