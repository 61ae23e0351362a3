"""The autotuner over Plans. This release reserves its place; `hal tune` comes with the next one."""

if __name__ != "hal.tuner":
    raise ImportError(
        f"this package was imported as {__name__!r}; import it as 'hal.tuner', "
        "so that no class exists twice in one process"
    )
