"""Training verbs that cost milliseconds, for tests of what surrounds them."""
