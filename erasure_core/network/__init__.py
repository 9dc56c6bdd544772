"""The network, how it is read and how it is taught."""
