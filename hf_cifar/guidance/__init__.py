"""Owns what recipes/doctor.py checks: the installation, the machine, and what a config describes."""
