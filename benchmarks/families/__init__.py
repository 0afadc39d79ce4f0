"""What an encoder family is: one class for each, which tells all that code needs to know of its models; one table."""
