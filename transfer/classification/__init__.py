"""Image classification by fine-tuning, by a linear or attentive probe, or by nearest neighbours."""
