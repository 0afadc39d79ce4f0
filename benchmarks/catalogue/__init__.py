"""What is known by name: tasks, published numbers, and the lists that `mimbench list` prints."""
