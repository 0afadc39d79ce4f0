"""Files are read within bounds."""
