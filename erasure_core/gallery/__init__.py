"""The embedded teacher: a small Stable-Diffusion-shaped model of ten public-domain pictures in five
styles.
"""
