"""Layouts and architectures of plain transformers."""
