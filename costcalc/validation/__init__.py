"""Comparison of calculated costs and predicted memory with what torch measures."""
