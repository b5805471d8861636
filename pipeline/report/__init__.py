"""What a person reads of a finished run: one page with its scores, its curves and its mistakes."""
