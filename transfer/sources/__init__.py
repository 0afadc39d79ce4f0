"""What `--encoder` may be: runs, exports, files and hubs of others; found, opened, and described."""
