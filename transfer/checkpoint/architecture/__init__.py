"""Which architecture a file holds: told by its tensors, by what lies beside it, or by a person."""
