"""Stability: what the parameters guarantee, an independent check, and searches for the worst signals."""

from schemenets.stability.attacks import guaranteed_psnr, worst_perturbation
from schemenets.stability.certificates import BlockCertificate, Certificate, Norm, certify
from schemenets.stability.composition import Bounds, lipschitz_part, of_sequence
from schemenets.stability.search import largest_amplification, largest_expansion
from schemenets.stability.verification import can_verify, dense_norm, to_verify, verify

__all__ = [
    "BlockCertificate",
    "Bounds",
    "Certificate",
    "Norm",
    "can_verify",
    "certify",
    "dense_norm",
    "guaranteed_psnr",
    "largest_amplification",
    "largest_expansion",
    "lipschitz_part",
    "of_sequence",
    "to_verify",
    "verify",
    "worst_perturbation",
]
