"""What `make bench` runs: our figures, and the same work on whatever peer is installed."""
