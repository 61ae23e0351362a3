"""``python -m hal`` is the ``hal`` command."""

from hal.cli import main

if __name__ == "__main__":
    main()
