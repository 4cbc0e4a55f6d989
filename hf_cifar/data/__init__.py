"""Owns the images: sources, canonical order, table, split, transforms and batches."""
