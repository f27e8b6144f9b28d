"""A node in a container: real systemd, podman and TuneD, booted on this machine for a test."""
