"""Published numbers as data: files of claims, verified against the analysis."""

from costcalc.published.claims.claims_file import Claim, ClaimsFile
from costcalc.published.claims.sources import Choice, choose, read, sources
from costcalc.published.claims.verdict import VERDICTS, MultipleValues
from costcalc.published.claims.verify import ClaimResult, verify

__all__ = [
    "VERDICTS",
    "Choice",
    "Claim",
    "ClaimResult",
    "ClaimsFile",
    "MultipleValues",
    "choose",
    "read",
    "sources",
    "verify",
]
