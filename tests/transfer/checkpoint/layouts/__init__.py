"""Layouts of keys and architectures, against the libraries that write them."""
