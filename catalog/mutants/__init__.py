"""Mutation test: each guard of a list is removed in a copy of the tree, and at least one test must fail."""
