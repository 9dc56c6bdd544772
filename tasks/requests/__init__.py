"""Requests in: what was asked, what is missing, what is due."""
