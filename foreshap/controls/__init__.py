"""What could prove a map wrong, and the verdict."""
