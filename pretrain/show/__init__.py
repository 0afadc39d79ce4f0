"""What a person looks at: reconstructions, colour palettes, and how far masks hide pixels."""
