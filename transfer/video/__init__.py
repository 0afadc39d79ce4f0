"""Video classification: encoders of clips, or of images that are carried over to them, and videos like Kinetics."""
