"""A model on its data, on a device, under a plan: what everything that runs a model starts from."""
