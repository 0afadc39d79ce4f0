"""Rows as tables: columns, cells, and the formats without pictures."""
