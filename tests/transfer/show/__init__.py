"""`mimbench show`."""
