"""Self-supervised pretraining by masked image modelling."""
