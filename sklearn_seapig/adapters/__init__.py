"""Borders to other libraries, one file for each, which imports it."""
