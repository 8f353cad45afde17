"""Figures drawn in the style of the report, and the texts in them."""

from matplotlib import rc_context
from matplotlib.text import Text

from schemenets.study import figures
from schemenets.study.figures import _style


def drawn(name, tables):
    with rc_context(_style.STYLE):
        figure = figures.draw(name, tables)
        figure.canvas.draw()
    return figure


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]
