"""Photos in files, from one to any number, through the code that serves; imports nothing of training."""
