"""Predicting the classes of images or videos: going over a test set, scoring, writing results beside the record."""
