"""How each service is loaded alone: the generator is its gateway, and whoever it passes its work on to."""
