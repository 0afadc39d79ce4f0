"""What the verbs that make runs share: arguments, overrides, what is said of an encoder, claiming a run, its result."""
