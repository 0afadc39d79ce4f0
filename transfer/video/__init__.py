"""Video classification in the layout of Kinetics."""
