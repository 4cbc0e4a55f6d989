"""Owns measuring: predictions, metrics, comparison, cost, and results.json."""
