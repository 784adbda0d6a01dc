"""Score photo files, from one to any number; imports nothing from training."""
