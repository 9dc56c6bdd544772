"""Tables of contents: what happens, in which order, where."""
