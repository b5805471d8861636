"""What a user can set, and the one parser that reads it."""
