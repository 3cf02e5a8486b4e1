"""Figures: each benchmark measures one part of the catalog on made-up data."""
