"""The browser's half: what pages load."""
