"""pulsar-registry: versioned, deduplicated data packages."""
