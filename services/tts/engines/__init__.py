"""The engines: a file for each, named as it is."""
