"""This process's copy of the channels, who listens, and one client's stream."""
