"""Owns the C code that a CifarCnn trains by on a CPU: Winograd convolutions, and what lies between them, fused."""
