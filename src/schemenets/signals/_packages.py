"""Example data of other packages, which only the study needs."""

from importlib import import_module
from typing import Any

DISTRIBUTIONS = {"pywt": "PyWavelets", "skimage": "scikit-image"}


def data(package: str) -> Any:
    """The module ``data`` of ``pywt`` or ``skimage``.

    Raises:
        ModuleNotFoundError: the package is not installed; the message says how to get it.
    """
    try:
        return import_module(f"{package}.data")
    except ModuleNotFoundError as error:
        message = f"these signals come with {DISTRIBUTIONS[package]}: pip install '.[study]' in the project"
        raise ModuleNotFoundError(message, name=package) from error
