"""The architecture of a file's encoder: from its tensors, from files beside it, and from what a person states."""
