"""Where results lie; the workflow's rules use the same names."""

from dataclasses import dataclass
from pathlib import Path

DEPTH = "depth/"  # how the names of growth through the blocks of trained networks begin; the name of the job follows


@dataclass(frozen=True)
class Layout:
    """Names of the files in a results directory."""

    root: Path

    def dataset(self, name: str) -> Path:
        """Signals of a data set; its record lies beside it, with the suffix ``.json``."""
        return self.root / "data" / f"{name}.safetensors"

    def tuned(self, method: str) -> Path:
        """Tuning of a method."""
        return self.root / "tuning" / f"{method}.json"

    def solver_tuned(self, method: str) -> Path:
        """Tuning of a method that learns to solve."""
        return self.root / "tuning" / "solvers" / f"{method}.json"

    def job(self, name: str) -> Path:
        """Records, checkpoints and evaluations of a training job."""
        return self.root / "runs" / name

    def table(self, name: str) -> Path:
        """A table."""
        return self.root / "tables" / f"{name}.csv"

    def figure(self, name: str, suffix: str) -> Path:
        """A figure."""
        return self.root / "figures" / f"{name}.{suffix}"

    @property
    def benchmarks(self) -> list[Path]:
        """The tables of benchmarks that have been run: targets, all that was measured, on a GPU, and solvers."""
        names = ("benchmark_targets", "benchmark", "gpu_benchmark", "solver_benchmark")
        return [path for path in map(self.table, names) if path.is_file()]

    @property
    def resume(self) -> Path:
        """Interrupted work."""
        return self.root / ".resume"

    @property
    def multigrid(self) -> Path:
        """Convergence factors of the multigrid cycles."""
        return self.root / "multigrid.json"

    @property
    def solvers(self) -> Path:
        """Numerical schemes as solvers, the yardstick for networks that solve."""
        return self.root / "solvers.json"

    def growth(self, name: str) -> Path:
        """Norms by the number of repetitions, of a training job, or by depth, of its networks or of random ones."""
        return self.root / "growth" / f"{name}.json"

    def remedies(self, name: str) -> Path:
        """Two-step networks of a training job, or random ones of a kind, with other rules for their extrapolation."""
        return self.root / "remedies" / f"{name}.json"

    @property
    def fixed_points(self) -> Path:
        """Convergence, gradients and costs of fixed-point iterations."""
        return self.root / "fixed_points.json"

    @property
    def schemes(self) -> Path:
        """How near numerical schemes come to the evolutions that networks learn."""
        return self.root / "schemes.json"

    @property
    def claims(self) -> Path:
        """Verdicts."""
        return self.root / "claims.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def manifest(self) -> Path:
        """Hashes of all files."""
        return self.root / "manifest.json"
