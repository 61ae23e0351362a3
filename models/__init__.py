"""Models written in the neutral tensor API alone: cnn, rnn, gan, transformer, transfer."""

if __name__ != "hal.models":
    raise ImportError(
        f"this package was imported as {__name__!r}; import it as 'hal.models', "
        "so that no class exists twice in one process"
    )
