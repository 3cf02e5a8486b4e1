"""A catalog of openly licensed media."""
