"""What a shell or a monitor sees."""
