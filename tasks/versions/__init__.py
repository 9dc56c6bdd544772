"""DVC: which bytes."""
