"""Faults on purpose: each is put into a real run over simulated arms and cameras, and its reaction measured."""
