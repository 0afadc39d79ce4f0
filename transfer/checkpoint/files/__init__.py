"""Reading checkpoint files: recognising the kind of a file, reading each kind, and joining shards to one checkpoint."""
