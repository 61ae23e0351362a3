"""The command line: ``hal`` and its commands, one file each in :mod:`hal.cli.commands`."""

from hal.cli.app import main

__all__ = ["main"]
