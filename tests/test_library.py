"""The library alone: no package of the study is needed, and the README's example runs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
STUDY_ONLY = ("jinja2", "jsonschema", "matplotlib", "numba", "pandas", "pywt", "seaborn", "snakemake", "yaml")
BLOCK = f"""
import sys
for name in {STUDY_ONLY}:
    sys.modules[name] = None  # importing it raises ImportError
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def readme_example():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return example


def test_the_example_of_the_readme_runs_as_it_says():
    result = run(readme_example())
    assert result.returncode == 0, result.stderr
    assert result.stdout == "True\n"


def test_networks_schemes_and_certificates_need_no_package_of_the_study():
    modules = ("checkpoints", "evaluation", "fluxes", "kernels", "networks", "operators", "schemes", "stability")
    imports = "".join(f"import schemenets.{name}\n" for name in (*modules, "signals", "training", "cli"))
    result = run(BLOCK + imports + readme_example() + "from schemenets.study.cli import main\nmain(['info'])")
    assert result.returncode == 0, result.stderr
    assert re.search(r"^kernel +reference$", result.stdout, re.MULTILINE)


def test_without_snakemake_and_plotting_every_stage_of_training_can_be_imported():
    stages = ("signals", "evolution", "tune", "train", "evaluate", "stability", "robustness", "growth")
    stages += ("remedies", "fixed_points", "schemes", "multigrid")
    imports = "".join(f"import schemenets.study.stages.{name}\n" for name in stages)
    result = run(BLOCK + imports)
    assert result.returncode == 0, result.stderr
