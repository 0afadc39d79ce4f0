"""The encoder of a transfer: its sizes, loading with proof, feature maps, frozen features, layer-wise rates."""
