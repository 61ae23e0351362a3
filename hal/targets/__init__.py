"""Hardware that is not here: whether a model builds for it, fits, and how fast it will be."""
