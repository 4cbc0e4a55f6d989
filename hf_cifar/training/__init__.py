"""Owns training: optimizer, loss, callbacks, precision, and the stock Trainer built from them."""
