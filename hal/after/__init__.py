"""What comes after a training: using, exporting, looking at and comparing trained models."""
