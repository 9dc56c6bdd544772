"""What is asked, allowed, decided and recorded. No torch, no network."""
