"""Searches for hyper-parameters and sweeps over recipes, shared by any number of processes."""
