"""Dense features, against other libraries' maps of the same weights."""
