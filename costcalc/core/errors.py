"""What costcalc says when something is wrong: one base class, and the words for a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable


class CostcalcError(Exception):
    """A mistake in what the user asked or wrote; its text is the whole message, without a traceback."""


class FixedSizeError(CostcalcError):
    """A size that was to be a variable, and that a model allows one value of alone."""


class UnknownArchitecture(CostcalcError):
    """A TARGET that names no architecture that ships, and no file or model."""


class SettingError(CostcalcError):
    """A size or setting that a spec does not have, or a value that it does not take."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


class OpError(CostcalcError):
    """A layer that cannot be: a field out of range, or an input it does not take.

    `field` names the field at fault, if one is.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the candidates nearest to `word`, or nothing when none is near."""
    import difflib

    folded = {c.lower(): c for c in sorted(candidates, reverse=True)}
    near = difflib.get_close_matches(word.lower(), folded, n=3, cutoff=0.6)
    if not near:
        return ""
    # A clear winner stands alone; runners-up are offered only when they are about as near.
    scores = [difflib.SequenceMatcher(None, word.lower(), n).ratio() for n in near]
    words = [repr(folded[n]) for n, s in zip(near, scores, strict=True) if s > scores[0] - 0.05]
    return f" (did you mean {' or '.join(words)}?)"
