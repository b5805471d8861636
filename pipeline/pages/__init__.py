"""Pages of HTML that need nothing but a browser: one file, no script, nothing loaded from elsewhere."""
