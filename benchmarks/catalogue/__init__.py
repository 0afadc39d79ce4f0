"""What is known by name: tasks, backbones, published numbers, and the lists that `mimbench list` prints."""
