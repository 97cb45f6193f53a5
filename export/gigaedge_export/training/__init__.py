"""Trains world-action policies, and the VAE in front of them, with the modules that the export takes apart."""
