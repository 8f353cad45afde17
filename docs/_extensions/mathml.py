"""Formulas as MathML, made while building: a page needs no script, no font and no network to show them."""

from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

MATHML = "http://www.w3.org/1998/Math/MathML"
BARS = "|‖"
ElementTree.register_namespace("", MATHML)
log = logging.getLogger(__name__)


def mathml(node: nodes.Element, display: str) -> str:
    """The formula of a node as MathML; a warning where it cannot be translated."""
    try:
        root = ElementTree.fromstring(convert(node.astext(), display=display))
    except Exception as error:
        log.warning("formula %r cannot be translated: %s", node.astext(), error, location=node)
        return ""
    for operator in root.iter(f"{{{MATHML}}}mo"):
        if operator.text in BARS:  # else every bar is a stretched operator with space on both sides
            operator.attrib.update(stretchy="false", lspace="0", rspace="0")
    for power in root.iter(f"{{{MATHML}}}msup"):
        if power[1].text == "′":  # is raised by itself in fonts that have no special one for superscripts
            power.tag = f"{{{MATHML}}}mrow"
    if any("\\" in (element.text or "") for element in root.iter()):  # unknown commands pass unchanged
        log.warning("formula %r holds an unknown command", node.astext(), location=node)
    return ElementTree.tostring(root, encoding="unicode")


def visit_math(self, node: nodes.math) -> None:
    self.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def visit_displaymath(self, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
