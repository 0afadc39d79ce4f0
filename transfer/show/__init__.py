"""What encoders see: the same test images with the truth beside every run's prediction."""
