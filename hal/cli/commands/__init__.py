"""The commands of hal, one file each: its options, its work, its help.

A file here is a command of the same name, found by :mod:`hal.cli.app`; it declares itself as ``COMMAND``. What a
command prints stands beside it in ``_<name>_view.py``, which is imported when the command runs: a command's own file
imports nothing that takes long, because every call of ``hal`` loads all of them.
"""
