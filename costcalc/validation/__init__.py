"""Predictions beside what torch measures."""
