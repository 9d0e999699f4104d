"""What processes use, print and run: sampled, kept and shown."""
