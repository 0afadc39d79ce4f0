"""Data sets: their files found and indexed, and known again by a fingerprint."""
