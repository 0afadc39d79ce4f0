"""Classes that are predicted, of images or of videos: run over a test set, scored, written beside the record."""
