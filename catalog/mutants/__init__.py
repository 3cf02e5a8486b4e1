"""A check of the tests themselves: each guard of a list is removed in a copy of the tree, and a test must notice."""
