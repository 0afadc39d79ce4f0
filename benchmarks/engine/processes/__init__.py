"""One training in several processes: what they exchange, and how the model is spread over them."""
