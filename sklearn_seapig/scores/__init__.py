"""Confidence scores, one file for each family."""
