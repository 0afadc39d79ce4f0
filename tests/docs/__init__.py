"""The documentation: tutorials are run as they are written, the site is built, examples are planned."""
