"""The library alone: it imports nothing of the study, offers its public names lazily, and the README's example runs."""

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import schemenets
from schemenets import fluxes, registry
from schemenets.errors import InvalidParameterError, SchemenetsError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PLOTTING = ("jinja2", "matplotlib", "pandas", "seaborn", "snakemake")
STUDY_ONLY = (*PLOTTING, "jsonschema", "numba", "pywt", "skimage", "yaml")
BLOCK = f"""
import sys
for name in {STUDY_ONLY}:
    sys.modules[name] = None  # importing it raises ImportError
"""
# modules that are imported only where these packages are there
NEEDING_NUMBA = (
    "schemenets.kernels.autograd",
    "schemenets.kernels.engine",
    "schemenets.kernels.flux",
    "schemenets.kernels.levels",
    "schemenets.kernels.loops",
    "schemenets.kernels.problems",
    "schemenets.kernels.safeguard",
    "schemenets.kernels.simd",
    "schemenets.kernels.vector_math",
)
NEEDING = {"numba": NEEDING_NUMBA, "matplotlib": ("schemenets.fluxes._plot",)}


def module_name(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    module_name(path): path
    for path in sorted((SOURCE / "schemenets").rglob("*.py"))
    if "study" not in path.relative_to(SOURCE).parts and path.name != "__main__.py"
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def readme_example():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return example


def imports(node, inside=False):
    """Pairs of an imported module and whether that is only inside of a function or for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((f"{child.module}.{alias.name}", inside) for alias in child.names)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from imports(child, inside or later or types)


def belongs(imported, packages):
    return any(imported == package or imported.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_of_the_library_imports_the_study_or_its_packages(name):
    found = list(imports(ast.parse(MODULES[name].read_text(encoding="utf-8"))))
    needed = {package for package, modules in NEEDING.items() if name in modules}
    assert not [imported for imported, _ in found if belongs(imported, ["schemenets.study"])]
    packages = set(STUDY_ONLY) - needed
    assert not [imported for imported, inside in found if not inside and belongs(imported, packages)]


def test_imports_are_found_wherever_they_are():
    source = "if TYPE_CHECKING:\n import a\ntry:\n from b import c\nexcept E:\n pass\ndef f():\n import d.e\n"
    assert list(imports(ast.parse(source))) == [("a", True), ("b.c", False), ("d.e", True)]


def test_every_module_of_the_library_can_be_imported_without_packages_of_the_study():
    names = sorted(set(MODULES).difference(*NEEDING.values()))
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)\n"
    code += "assert not [name for name in sys.modules if name.startswith('schemenets.study')]\n"
    result = run(BLOCK + code)
    assert result.returncode == 0, result.stderr
    assert len(names) > 60


def test_the_example_of_the_readme_runs_as_it_says():
    result = run(readme_example())
    assert result.returncode == 0, result.stderr
    assert result.stdout == "True\n"


def test_networks_schemes_and_certificates_need_no_package_of_the_study():
    result = run(BLOCK + readme_example() + "from schemenets.study.cli import main\nmain(['info'])")
    assert result.returncode == 0, result.stderr
    assert re.search(r"^kernel +reference$", result.stdout, re.MULTILINE)


def test_without_snakemake_and_plotting_every_stage_of_training_can_be_imported():
    stages = ("signals", "evolution", "tune", "train", "evaluate", "stability", "robustness", "growth")
    stages += ("random_growth", "fixed_points", "schemes", "solvers", "evaluate_solvers", "problems")
    plotting = BLOCK.replace(str(STUDY_ONLY), str(PLOTTING))
    result = run(plotting + "".join(f"import schemenets.study.stages.{name}\n" for name in stages))
    assert result.returncode == 0, result.stderr


# Public names


def test_torch_is_imported_only_when_it_is_needed():
    light = ("schemenets", "schemenets.study", "schemenets.errors", "schemenets.files", "schemenets.progress")
    code = "".join(f"import {name}\n" for name in (*light, "schemenets.registry", "sys"))
    result = run(code + "assert 'torch' not in sys.modules\nschemenets.networks\nassert 'torch' in sys.modules")
    assert result.returncode == 0, result.stderr


def test_a_module_of_a_registry_that_lacks_something_is_named(tmp_path, monkeypatch):
    (tmp_path / "owned").mkdir()
    (tmp_path / "owned/__init__.py").touch()
    (tmp_path / "owned/complete.py").write_text("NETWORK = 1\n")
    (tmp_path / "owned/empty.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.module("owned", "complete", "network", "NETWORK").NETWORK == 1
    with pytest.raises(SchemenetsError, match=r"empty\.py: got no NETWORK, expected it in the module of a network\.$"):
        registry.module("owned", "empty", "network", "NETWORK")


def test_a_flux_is_called_as_its_file(monkeypatch):
    monkeypatch.setattr("schemenets.fluxes.relu.FLUX", replace(fluxes.get("relu"), name="other"))
    with pytest.raises(InvalidParameterError, match=r"name of FLUX in .*relu\.py: got 'other', expected 'relu'"):
        fluxes.get("relu")


def test_the_public_names_are_these():
    modules = ["fluxes", "multigrid", "networks", "operators", "schemes", "signals", "stability", "training"]
    names = ["Architecture", "__version__", "build", "certify", "load", "save"]
    assert dir(schemenets) == sorted([*modules, *names])
    assert sorted(schemenets.__all__) == dir(schemenets)
    with pytest.raises(AttributeError, match="module 'schemenets' has no attribute 'network'"):
        _ = schemenets.network


@pytest.mark.slow
@pytest.mark.parametrize("name", schemenets.__all__)
def test_every_public_name_is_what_its_module_has(name):
    found = getattr(schemenets, name)
    code = f"import schemenets as sn\nprint(getattr(sn.{name}, '__name__', sn.{name}))"
    result = run(code)  # alone, so that nothing else has imported it
    assert result.stdout.strip() == getattr(found, "__name__", found), result.stderr


def test_type_checkers_see_every_public_name():
    tree = ast.parse((SOURCE / "schemenets" / "__init__.py").read_text())
    seen = {imported.rpartition(".")[2] for imported, inside in imports(tree) if inside}
    assert seen == set(schemenets.__all__) - {"__version__"}
