"""What the pocketsphinx engine is made of: the recogniser, the worker processes around it, and their pool."""
