"""Files of every kind, whole, damaged, and hostile."""
