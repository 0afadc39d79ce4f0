"""The encoder of a transfer: its sizes, weights with proof, dense maps, frozen features, layers."""
