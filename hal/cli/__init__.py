"""The command line: ``hal run``, ``hal bench``, ``hal tune``, ``hal plans``, ``hal devices``."""

from hal.cli.app import main

__all__ = ["main"]
