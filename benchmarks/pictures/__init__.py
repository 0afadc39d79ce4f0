"""Sheets of pictures as PNG files, and pages of them as HTML that needs no other file."""
