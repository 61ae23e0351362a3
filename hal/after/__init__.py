"""After a training: a trained model answers new inputs, is looked at and compared, and goes where it will be used."""
