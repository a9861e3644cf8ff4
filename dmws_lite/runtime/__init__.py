"""Runtime: devices, seeds, files, the environment report, and running notebooks. Every other room may import it."""
