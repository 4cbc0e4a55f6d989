"""Owns what is compiled on the user's machine: faster convolutions for CPUs with AVX512-BF16."""
