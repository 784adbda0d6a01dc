"""The model in the browser: how equal its answers are, and what the first visit costs."""
