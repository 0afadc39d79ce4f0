"""One pretraining: its recipe, images, training, held-out loss and export."""
