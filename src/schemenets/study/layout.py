"""Where results go: the files that stages declare as their outputs, in one directory."""

from dataclasses import dataclass
from pathlib import Path

TABLE, FIGURE = "tables/{}.csv", "figures/{}.{}"  # of which the stages that write them have a varying number


@dataclass(frozen=True)
class Layout:
    """A results directory."""

    root: Path

    def files(self, stage: str, name: str = "all") -> dict[str, Path]:
        """The files that a job of a stage writes, by key.

        Raises:
            InvalidParameterError: the jobs of this stage have names of another form.
        """
        from schemenets.study import stages  # they import this module

        return {key: self.root / file for key, file in stages.output_files(stage, name).items()}

    def file(self, stage: str, name: str, key: str) -> Path:
        """The file with this key."""
        return self.files(stage, name)[key]

    def dataset(self, name: str) -> Path:
        """Signals of a data set; its record is beside it, with the suffix ``.json``."""
        from schemenets.study import stages

        return self.file(*stages.dataset(name), "signals")

    def table(self, name: str) -> Path:
        """A table."""
        return self.root / TABLE.format(name)

    def figure(self, name: str, suffix: str) -> Path:
        """A figure."""
        return self.root / FIGURE.format(name, suffix)

    @property
    def manifest(self) -> Path:
        """Hashes of all files."""
        return self.file("manifest", "all", "manifest")

    @property
    def crate(self) -> Path:
        """The same as an RO-Crate."""
        return self.file("manifest", "all", "crate")

    @property
    def report(self) -> Path:
        """The report."""
        return self.file("report", "all", "report")

    @property
    def claims(self) -> Path:
        """Verdicts."""
        return self.file("claims", "all", "claims")

    @property
    def resume(self) -> Path:
        """State of interrupted work."""
        return self.root / ".resume"
