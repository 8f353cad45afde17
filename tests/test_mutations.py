"""The table of mutations fits the package; ``python tests/mutations.py`` shows that the tests catch them."""

import ast

import mutations
import pytest
from mutations import ROOT, Mutation

TABLE = mutations.table()


@pytest.mark.parametrize("mutation", TABLE, ids=str)
def test_each_mutation_alters_one_place_and_leaves_python_code(mutation):
    original = (ROOT / "src" / "schemenets" / mutation.file).read_text()
    assert ast.dump(ast.parse(mutation.source())) != ast.dump(ast.parse(original))
    assert (ROOT / "tests" / mutation.tests).is_file()


def test_there_are_many_and_no_two_alike():
    assert len({(m.file, m.original, m.altered) for m in TABLE}) == len(TABLE) >= 100


@pytest.mark.parametrize("original", ["1.0", "2.0"])
def test_texts_that_are_not_exactly_once_in_the_file_are_refused(original):
    with pytest.raises(ValueError, match=f"fluxes/linear.py has '{original}' .* times instead of once"):
        Mutation("fluxes/linear.py", original, "3.0", "test_fluxes.py", "psi").source()


def test_entries_of_another_form_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mutations, "TABLE", tmp_path / "mutations.txt")
    mutations.TABLE.write_text("schemes/fsi.py\n+ altered\n- original\n? library/test_fsi.py box\n")
    with pytest.raises(ValueError, match="instead of a file and lines with"):
        mutations.table()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("altered", "passed", "test"),
    [
        ("previous = u = f", True, ""),
        ("previous, u = 0 * f, f", False, "tests/library/test_fsi.py::test_a_cycle_is_a_box_filter[1]"),
        ("previous = u = ", False, ""),
    ],
    ids=["caught by no test", "caught", "no Python code"],
)
def test_only_a_failing_test_counts(altered, passed, test, tmp_path):
    mutation = Mutation("schemes/fsi.py", "previous = u = f", altered, "library/test_fsi.py", "box_filter")
    outcome = mutations.outcome(str(tmp_path), mutation, mutation.tests, mutation.expression, mutation.kernel)
    assert (outcome.passed, outcome.test) == (passed, test)
