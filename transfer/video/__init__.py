"""Video classification: an encoder of images that is carried over to clips, and videos in the layout of Kinetics."""
