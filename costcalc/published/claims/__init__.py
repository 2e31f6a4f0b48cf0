"""Published numbers as data: files of claims, verified against the analysis."""

from costcalc.published.claims.language import Claim, ClaimsFile
from costcalc.published.claims.sources import Choice, choose, read, sources
from costcalc.published.claims.verdict import VERDICTS, Several
from costcalc.published.claims.verify import Verified, verify

__all__ = ["VERDICTS", "Choice", "Claim", "ClaimsFile", "Several", "Verified", "choose", "read", "sources", "verify"]
