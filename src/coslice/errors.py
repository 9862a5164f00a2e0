"""The one error a user can cause."""

__all__ = ["CosliceError", "SaidElsewhere"]


class CosliceError(ValueError):
    """Bad input, described in one sentence: who, what was given, what was needed, what to do.

    The command line prints the sentence and exits with code 2.
    """


class SaidElsewhere(CosliceError):
    """This process stops too, and another one of the same run says why: it is not to be said twice."""
