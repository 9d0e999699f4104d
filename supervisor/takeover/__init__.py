"""What outlives a supervisor: found again, taken over, guarded, or ended."""
