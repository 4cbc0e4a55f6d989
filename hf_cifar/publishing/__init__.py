"""Owns what strangers see of a model: its card."""
