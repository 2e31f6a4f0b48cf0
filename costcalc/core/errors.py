"""The exceptions of costcalc, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable


class CostcalcError(Exception):
    """An error in the user's input. Commands print its message without a traceback."""


class FixedSizeError(CostcalcError):
    """A free size for which a model accepts one value only."""


class UnknownArchitecture(CostcalcError):
    """A TARGET that is neither a shipped architecture nor a file or a model."""


class SettingError(CostcalcError):
    """An unknown size or setting of a spec, or a value that it does not accept."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


class OpError(CostcalcError):
    """An invalid layer: an argument out of range, or an input that the op does not accept.

    `field` is the name of the argument, or None.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the candidates most similar to `word`, or "" if none is similar."""
    import difflib

    folded = {c.lower(): c for c in sorted(candidates, reverse=True)}
    near = difflib.get_close_matches(word.lower(), folded, n=3, cutoff=0.6)
    if not near:
        return ""
    # Other candidates than the best one are suggested only if they are about as similar.
    scores = [difflib.SequenceMatcher(None, word.lower(), n).ratio() for n in near]
    words = [repr(folded[n]) for n, s in zip(near, scores, strict=True) if s > scores[0] - 0.05]
    return f" (did you mean {' or '.join(words)}?)"
