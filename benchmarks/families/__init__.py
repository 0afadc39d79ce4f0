"""What an encoder family is: one class for each, which knows all that is special about its models; one table."""
