"""Stability: what parameters alone guarantee, an independent check of it, and a search for counterexamples."""

from schemenets.stability.certificates import BlockCertificate, Certificate, Norm, certify
from schemenets.stability.search import largest_amplification
from schemenets.stability.verification import dense_norm

__all__ = ["BlockCertificate", "Certificate", "Norm", "certify", "dense_norm", "largest_amplification"]
