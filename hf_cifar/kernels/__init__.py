"""Owns the C code that models train by on a CPU: a CifarCnn's convolutions and what lies between, depthwise ones."""
