"""One script for each tool that training is compared with, written as the tool's own documentation teaches."""
