"""The encoder of a transfer: what `--encoder` may be, weights with proof, features, layers, export."""
