"""Features of frozen encoders: computed once, kept on disk, and the protocols that need nothing else of an image."""
