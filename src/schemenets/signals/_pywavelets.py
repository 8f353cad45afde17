"""PyWavelets' example data, which only the study needs."""

from types import ModuleType


def data() -> ModuleType:
    """The module ``pywt.data``.

    Raises:
        ModuleNotFoundError: PyWavelets is not installed; the message says how to get it.
    """
    try:
        import pywt.data
    except ModuleNotFoundError as error:
        message = "these signals come with PyWavelets: pip install '.[study]' in the project"
        raise ModuleNotFoundError(message, name="pywt") from error
    return pywt.data
