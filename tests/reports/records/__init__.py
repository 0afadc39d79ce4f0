"""Records found, checked and gathered into rows."""
