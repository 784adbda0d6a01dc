"""Scripts that score a folder with a tool that has no command for it, as the tool's own documentation teaches."""
