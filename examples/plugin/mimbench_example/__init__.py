"""What this package adds to mimbench, a file for each; nothing is imported before it is used."""
