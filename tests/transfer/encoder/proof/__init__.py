"""What proves that an encoder was loaded, and that its weights are those of a training."""
