"""What only the study measures."""
