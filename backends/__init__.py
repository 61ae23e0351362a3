"""Vendors' ways to run tensors, one folder each; the contract they fulfil is :mod:`hal.contract`."""

if __name__ != "hal.backends":
    raise ImportError(
        f"this package was imported as {__name__!r}; import it as 'hal.backends', "
        "so that no class exists twice in one process"
    )
