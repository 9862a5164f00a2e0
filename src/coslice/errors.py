"""The one error a user can cause."""

__all__ = ["CosliceError", "SaidElsewhere", "shortened"]

_MOST = 1500
"""Characters of a sentence. What was given may have thousands, and nobody reads them."""


def shortened(sentence: str) -> str:
    """A sentence without its middle, where it is very long."""
    return sentence if len(sentence) <= _MOST else f"{sentence[: _MOST - 300]} ... {sentence[-200:]}"


class CosliceError(ValueError):
    """Bad input, described in one sentence: who, what was given, what was needed, what to do.

    The command line prints the sentence and exits with code 2. A very long one loses its middle.
    """

    def __init__(self, sentence: str = "", *others: object) -> None:
        super().__init__(shortened(sentence), *others)


class SaidElsewhere(CosliceError):
    """This process stops too, and another one of the same run says why: it is not to be said twice."""
