"""The science and the law of concept erasure: mathematics, hashes, measurements, verdicts. Knows no
framework.
"""
