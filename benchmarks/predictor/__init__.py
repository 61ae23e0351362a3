"""Fits hal's predictor of speed to public measurements, and judges it on generations that it has not seen."""
