"""Owns what people look at: figures and reports, rendered from results.json and predictions."""
