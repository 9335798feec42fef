"""What Flask sees."""
