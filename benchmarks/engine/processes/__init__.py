"""One training in several processes: what they tell each other, and how the model lies in them."""
