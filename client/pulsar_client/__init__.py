"""The pulsar command and its Python interface."""
