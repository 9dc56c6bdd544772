"""Imports that take seconds each and that every run needs, made while something
else is waited for.
"""

from importlib import import_module
from threading import Thread

HEAVY = (  # in the order in which a run needs them
    "great_expectations.expectations",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.schedulers.scheduling_ddim",
    "transformers.models.clip.modeling_clip",
    "mlflow.pyfunc",
)


def warm() -> Thread:
    """Begin to import them, in a thread to be joined."""
    thread = Thread(
        target=lambda: [import_module(name) for name in HEAVY], name="imports", daemon=True
    )
    thread.start()
    return thread
