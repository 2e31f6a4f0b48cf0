"""Published numbers as data: files of claims, verified against the analysis."""

from costcalc.claims.language import Claim, ClaimsFile
from costcalc.claims.sources import Choice, choose, read, sources
from costcalc.claims.verdict import VERDICTS, Several
from costcalc.claims.verify import Verified, verify

__all__ = ["VERDICTS", "Choice", "Claim", "ClaimsFile", "Several", "Verified", "choose", "read", "sources", "verify"]
