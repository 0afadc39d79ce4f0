"""The embedded data."""
