"""What can be done with packages. Services flush; the request that called them commits."""
