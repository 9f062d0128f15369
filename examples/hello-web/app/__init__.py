"""A page that says what serves it."""
