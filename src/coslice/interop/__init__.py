"""Ours in other people's libraries, and theirs in ours. What each name needs is imported at its first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
