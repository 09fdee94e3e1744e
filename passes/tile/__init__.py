"""The tile phase: tensor operations become kernels of loops over on-chip tiles, with explicit transfers."""
