"""Numerical algorithms for PDEs as neural architectures.

The package follows the way of the data: ``signals`` → ``networks`` (beside the ``schemes`` they come from,
built from ``operators`` and ``fluxes``) → ``training`` → ``evaluation`` and ``stability`` → ``statistics``
and ``claims`` → ``figures`` and ``report``.

The papers behind it are cited as

* [A] Alt, Schrader, Augustin, Peter, Weickert, *Connections between Numerical Algorithms for PDEs and Neural
  Networks*, J. Math. Imaging Vis. (2022), arXiv:2107.14742;
* [B] Alt, Peter, Weickert, Schrader, *Translating Numerical Concepts for PDEs into Neural Architectures*,
  SSVM (2021), arXiv:2103.15419.

Statements marked *(derived)* were derived for this project and stand in neither paper.
"""

__version__ = "0.1.0"
