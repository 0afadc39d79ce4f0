"""A Hugging Face repository of an encoder, or of a classifier, that timm loads, with a card of its measured scores."""
