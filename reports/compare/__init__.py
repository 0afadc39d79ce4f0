"""Comparisons of rows: which are like for like, differences with intervals, by class, by image, two sides, signals."""
