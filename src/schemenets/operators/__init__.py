"""Linear operators: convolutions K with their exact transposes, derivative matrices and grid transfers."""

from schemenets.operators.convolution import BOUNDARIES, Conv1dOperator, norm_bound
from schemenets.operators.derivatives import derivative, poisson
from schemenets.operators.transfer import prolongation, restriction

__all__ = [
    "BOUNDARIES",
    "Conv1dOperator",
    "derivative",
    "norm_bound",
    "poisson",
    "prolongation",
    "restriction",
]
