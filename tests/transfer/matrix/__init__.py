"""Every encoder, in every way that it can come, on every kind of task, compared with the library that it is from."""
