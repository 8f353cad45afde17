"""The tutorial: a page made from a script in cells, with the output of every cell behind it.

A cell starts with ``# %%``: code, or of another kind in brackets. ``[markdown]`` is text, ``[hidden]`` is code that the
page does not show, and ``[commands]`` are lines of the shell, which run in the folder of the tutorial's files.
"""

import contextlib
import io
import os
import re
import shlex
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "tutorial.py"
PAGE = SCRIPT.with_suffix(".md")
CELL = re.compile(r"^# %%(?: \[(\w+)\])?\n(.*?)(?=^# %%|\Z)", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```(?:python|sh)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def cells() -> list[tuple[str, str]]:
    """Kind and content of every cell."""
    found = CELL.findall(SCRIPT.read_text(encoding="utf-8"))
    kinds = ((kind or "code", text.strip("\n") + "\n") for kind, text in found)
    return [
        (kind, re.sub(r"^# ?", "", text, flags=re.M) if kind in ("markdown", "commands") else text)
        for kind, text in kinds
    ]


def page(before: str) -> str:
    """The page, with the output that it had before wherever the code is the same."""
    return written(dict(SHOWN.findall(before)))


def written(outputs: dict[str, str]) -> str:
    """The page with these outputs of the code of its cells."""
    parts = []
    for kind, text in cells():
        if kind == "markdown":
            parts.append(text)
        elif kind != "hidden":
            language = "sh" if kind == "commands" else "python"
            output = outputs.get(text, "")
            parts.append(f"```{language}\n{text}```\n" + f"\n```text\n{output}```\n" * bool(output))
    return "\n".join(parts)


def outputs() -> dict[str, str]:
    """What the cells print, by their code."""
    names: dict[str, object] = {"__file__": str(SCRIPT), "__name__": "__main__"}
    found = {}
    for kind, text in cells():
        if kind == "markdown":
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if kind == "commands":
                with contextlib.chdir(str(names["folder"])):
                    shell(text)
            else:
                exec(compile(text, str(SCRIPT), "exec"), names)
        found[text] = printed.getvalue()
    return found


def shell(lines: str) -> None:
    """Run lines of the form ``schemenets ...``."""
    from schemenets.study.cli import main

    for line in lines.splitlines():
        if status := main(shlex.split(line)[1:]):
            raise RuntimeError(f"{line}: status {status}")


def run() -> None:
    """Run the tutorial, and write its page and pictures."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    PAGE.write_text(written(outputs()), encoding="utf-8")
